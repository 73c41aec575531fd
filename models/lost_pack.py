"""Cases about gaps: what the broker lost, told so that its providers can be asked again."""

from datetime import UTC
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from models.case import LOST_PACK, cases, open_cases
from models.gap import Gap
from models.pack import packs

c = cases.c


class LostPacks(NamedTuple):
    """A case about a gap."""

    id: int
    is_open: bool
    epoch: UUID
    first: int
    last: int
    detail: str | None

    def covers(self, gap: Gap) -> bool:
        """Whether `gap` is what it is about, or what is left of that."""
        return self.epoch == gap.epoch and self.first <= gap.first and gap.last <= self.last


def open_lost_packs(connection: Connection, found: list[Gap]) -> None:
    """Opens a case for each."""
    open_cases(connection, [_row(gap) for gap in found])


def lost_packs(connection: Connection) -> list[LostPacks]:
    """Every case about a gap, closed ones too."""
    rows = connection.execute(select(c.id, c.status, c.digest, c.detail).where(c.kind == LOST_PACK).order_by(c.id))
    return [_lost_packs(row) for row in rows]


def _lost_packs(row: Any) -> LostPacks:
    epoch, _, numbers = row.digest.partition(":")
    first, _, last = numbers.partition("-")
    return LostPacks(row.id, row.status == "open", UUID(epoch), int(first), int(last), row.detail)


def is_remembered(connection: Connection, case: LostPacks) -> bool:
    """Whether `packs` still has rows that would show the gap of `case`."""
    query = select(packs.c.epoch).where(packs.c.epoch == case.epoch, packs.c.number >= case.last).limit(1)
    return connection.execute(query).first() is not None


def resolve_arrived(connection: Connection, case: LostPacks) -> None:
    """Its packs came after all."""
    values = {"status": "resolved", "resolution": "applied", "resolved_at": func.now(), "note": "all of them came late"}
    connection.execute(update(cases).where(c.id == case.id).values(values))


def tell_anew(connection: Connection, case: LostPacks, detail: str) -> None:
    """Some of its packs came after all."""
    connection.execute(update(cases).where(c.id == case.id).values(detail=detail))


def told(gap: Gap) -> str:
    """What a person needs who asks the providers again."""
    members = "an unknown number of notifications" if gap.members is None else f"{gap.members} notifications"
    bounds = {"after": gap.received_after, "before": gap.received_before}
    window = " and ".join(
        f"{word} {moment.astimezone(UTC).isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"
        for word, moment in bounds.items()
        if moment
    )
    return f"{members} in {gap.packs} packs, received {window or 'at an unknown time'}"


def _row(gap: Gap) -> dict[str, Any]:
    return {
        "kind": LOST_PACK,
        "provider": "",
        "account": "",
        "order_no": None,
        "notification_id": "",
        "digest": f"{gap.epoch}:{gap.first}-{gap.last}",
        "reason": "never_delivered",
        "detail": told(gap),
    }
