"""What every table shares: one naming rule for constraints, and whole packs handed over as one parameter."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import JSON, Column, MetaData, TableValuedAlias, Text, bindparam, cast, column, func

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


def given(*columns: Column[Any], name: str = "given") -> TableValuedAlias:
    """The rows handed over with a statement, as a table `name` with these columns in their own types.

    One statement and one plan for any number of rows. JSON, because the driver writes arrays element by element in
    Python, some sixty elements for each notification (ADR 0008).
    """
    rows = func.json_to_recordset(cast(bindparam(f"{name}_rows", type_=Text), JSON))
    typed = rows.table_valued(*(column(own.name, own.type) for own in columns))
    return typed.render_derived(name=name, with_types=True)


def as_given(mappings: Iterable[Mapping[str, Any]], name: str = "given") -> dict[str, str]:
    """The parameter of a statement built with `given`: every mapping has a value for each of its columns."""
    return {f"{name}_rows": orjson.dumps(list(mappings), _plain).decode()}


def tuples(values: Collection[tuple[Any, ...]], *columns: Column[Any]) -> dict[str, str]:
    """The same for rows that are tuples in the order of `columns`."""
    # SQLAlchemy's names are a kind of str of its own, which the encoder refuses as a key.
    names = ["".join(column.name) for column in columns]
    return as_given(dict(zip(names, value, strict=True)) for value in values)


def _plain(value: object) -> str:
    """How PostgreSQL reads what JSON has no word for; moments are RFC 3339 already."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(type(value).__name__)
