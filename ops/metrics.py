"""`paidonce metrics`: what a monitor has to know, in Prometheus' text format; the database is asked at each look.

Figures of the whole shop and not of one process: any number of receivers and workers, one place to ask.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Connection, text

from domain.verdict import CASES
from models.case import LOST_PACK
from models.notification import OPEN
from ops.database import snapshot
from ops.output import err, fail

Listen = typer.Option(None, metavar="HOST:PORT", help="Answer GET /metrics there until Ctrl-C; else print once.")

#: By the case's own words (models/lost_pack.py); a case may tell of several gaps.
_LOST = """
SELECT coalesce(sum(part[1]::bigint), 0)
FROM cases, regexp_matches(detail, '(\\d+) {what}', 'g') AS part
WHERE status = 'open' AND kind = 'lost_pack'
"""
_CASES = "SELECT kind, count(*) FROM cases WHERE status = 'open' GROUP BY kind"
_WAITING = """
SELECT status, count(*), extract(epoch FROM now() - min(received_at))
FROM notifications WHERE next_attempt_at IS NOT NULL GROUP BY status
"""
_OUTBOX = (
    "SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM outbox WHERE relayed_at IS NULL"
)


def metrics(listen: str | None = Listen) -> None:
    """Prints what a monitor has to know, in Prometheus' text format, or answers with it on HOST:PORT."""
    if listen is None:
        sys.stdout.write(exposition())
        return
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        fail(f"--listen {listen}: HOST:PORT is wanted", 2)
    exposition()  # a database that is not there is said now, and not to the first who asks
    _, thread = start_http_server(int(port), host.strip("[]"), registry())
    err.print(f"metrics: http://{listen}/metrics")
    thread.join()


def exposition() -> str:
    """All of them, once. Raises SQLAlchemy's errors."""
    return generate_latest(registry()).decode()


def registry() -> CollectorRegistry:
    """Ours alone, without the figures of this very process."""
    own = CollectorRegistry(auto_describe=False)
    own.register(Figures())
    return own


class Figures(Collector):
    """Asked in one snapshot for each look."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every figure, 0 where there is nothing to tell: an alert on an absent series never fires."""
        with snapshot() as connection:
            yield _family("cases_open", "Cases that a person has to see.", "kind", _cases(connection))
            yield _one("lost_packs", "Packs that the broker confirmed and lost.", _lost(connection, "packs"))
            yield _one("lost_notifications", "Notifications in them.", _lost(connection, "notifications"))
            waiting = {status: (count, age) for status, count, age in _rows(connection, _WAITING)}
            counts = [(status, waiting.get(status, (0, 0))[0]) for status in OPEN]
            ages = [(status, waiting.get(status, (0, 0))[1]) for status in OPEN]
            yield _family("notifications_waiting", "Notifications without a last verdict.", "status", counts)
            yield _family("notifications_waiting_seconds", "Age of the oldest of them.", "status", ages)
            [(count, age)] = _rows(connection, _OUTBOX)
            yield _one("outbox_waiting", "Announcements that no broker has confirmed yet.", count)
            yield _one("outbox_waiting_seconds", "Age of the oldest of them.", age)


def _cases(connection: Connection) -> list[tuple[str, int]]:
    found = dict(tuple(row) for row in _rows(connection, _CASES))
    return [(kind, found.get(kind, 0)) for kind in sorted([*CASES, LOST_PACK])]


def _lost(connection: Connection, what: str) -> Any:
    return _rows(connection, _LOST.format(what=what))[0][0]


def _rows(connection: Connection, query: str) -> Sequence[Any]:
    return connection.execute(text(query)).all()


def _family(name: str, said: str, label: str, values: Iterable[tuple[str, Any]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"paidonce_{name}", said, labels=[label])
    for word, value in values:
        family.add_metric([str(word)], float(value))
    return family


def _one(name: str, said: str, value: Any) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"paidonce_{name}", said, value=float(value))
