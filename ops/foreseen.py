"""What may go wrong without anybody's mistake in the code: said in one line, never as a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, OperationalError

from domain.errors import ConfigurationError, PaidonceError
from ops.output import fail

#: SQLSTATE of a table or a schema that is not there.
_NO_TABLE = ("42P01", "3F000")


@contextmanager
def foreseen() -> Iterator[None]:
    """Turns foreseeable errors of the block into one line and exit code 1, or 2 for settings."""
    try:
        yield
    except ValidationError as error:
        faults = (f"PAIDONCE_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors())
        fail("; ".join(faults), 2)
    except ConfigurationError as error:
        fail(str(error), 2)
    except PaidonceError as error:
        fail(str(error))
    except DBAPIError as error:
        fail(_database(error))
    except psycopg.OperationalError as error:
        fail(f"PostgreSQL cannot be reached: {_first_line(error)}")
    except BrokenPipeError:
        raise  # `| head` is nobody's mistake; typer ends quietly
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _database(error: DBAPIError) -> str:
    first = _first_line(error.orig)
    if getattr(error.orig, "sqlstate", None) in _NO_TABLE:
        return "the database has no tables of ours: run `paidonce migrate`"
    if isinstance(error, OperationalError):
        return f"PostgreSQL cannot be reached, or gave up: {first} (PAIDONCE_DATABASE_URL)"
    return f"PostgreSQL refused: {first}"


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
