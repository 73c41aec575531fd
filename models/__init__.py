"""Hand to the database: one table per file with its locking query. Never commits, never sends."""

from models.base import metadata
from models.case import cases
from models.case_action import case_actions
from models.ledger_entry import ledger_entries
from models.notification import notifications
from models.order import orders
from models.outbox import outbox
from models.pack import packs
from models.payload import payloads
from models.transition import transitions

__all__ = [
    "case_actions",
    "cases",
    "ledger_entries",
    "metadata",
    "notifications",
    "orders",
    "outbox",
    "packs",
    "payloads",
    "transitions",
]
