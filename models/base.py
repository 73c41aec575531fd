"""What every table shares: one naming rule for constraints, and whole packs handed over as one parameter."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

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
    return {f"{name}_rows": json.dumps(list(mappings), default=_plain)}


def tuples(values: Collection[tuple[Any, ...]], *columns: Column[Any]) -> dict[str, str]:
    """The same for rows that are tuples in the order of `columns`."""
    names = [name.name for name in columns]
    return as_given(dict(zip(names, value, strict=True)) for value in values)


def _plain(value: object) -> str:
    """How PostgreSQL reads what JSON has no word for."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError(type(value).__name__)
