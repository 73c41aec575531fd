"""What every table shares: one naming rule for constraints, and whole packs handed over as arrays."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, Column, MetaData, TableValuedAlias, bindparam, column, func

#: Rows as the database gives them back: attribute access by column name.
Rows = Sequence[Any]

#: Names by rule: code that reads a violation reads the constraint's name, and migrations stay stable.
NAMING = {
    "pk": "pk__%(table_name)s",
    "uq": "uq__%(table_name)s__%(column_0_N_name)s",
    "ix": "ix__%(table_name)s__%(column_0_N_name)s",
    "fk": "fk__%(table_name)s__%(column_0_N_name)s",
    "ck": "ck__%(table_name)s__%(constraint_name)s",
}
metadata = MetaData(naming_convention=NAMING)


def one_of(words: Iterable[str], column: str) -> str:
    """The CHECK expression that a text column holds one of `words`."""
    return f"{column} IN ({', '.join(repr(str(word)) for word in words)})"


def given(*columns: Column[Any]) -> TableValuedAlias:
    """The rows handed over with a statement: unnest of one array parameter per column, in the column's own type.

    One statement and one plan for any number of rows; VALUES lists would be parsed anew for every length.
    """
    parameters = [bindparam(parameter(name), type_=ARRAY(name.type)) for name in columns]
    rows = func.unnest(*parameters).table_valued(*(column(name.name, name.type) for name in columns))
    return rows.render_derived(name="given")


def arrays(rows: Sequence[Mapping[str, Any]], *columns: Column[Any]) -> dict[str, list[Any]]:
    """The parameters of a statement built with `given` on the same columns."""
    return {parameter(name): [row[name.name] for row in rows] for name in columns}


def tuples(rows: Collection[tuple[Any, ...]], *columns: Column[Any]) -> dict[str, list[Any]]:
    """The same for rows that are tuples in the order of `columns`."""
    return {parameter(name): [row[place] for row in rows] for place, name in enumerate(columns)}


def parameter(name: Column[Any]) -> str:
    """SQLAlchemy keeps the bare column names for itself in INSERT and UPDATE."""
    return f"given_{name.name}"
