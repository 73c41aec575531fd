"""A queue full of packs of one, as after an outage, on the real broker and the real worker."""

import json
import re
from pathlib import Path

import pytest
from running import SECRET, stack, until
from shop import ACCOUNT, Shop, stripe
from sqlalchemy import Engine

from models import cases, packs
from ops.audit import violations
from worker.link import Link
from worker.settings import Settings

ORDERS = 60


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_backlog_of_lone_notifications_is_settled_in_few_transactions(
    broker: str, tmp_path: Path, database_url: str, database: Engine, request: pytest.FixtureRequest
) -> None:
    """Each order paid once, each pack on record, a forged and an unreadable one among them spoil nothing."""
    prefix = request.getfixturevalue("redis_prefix") if broker == "redis" else "paidonce:"
    url = request.getfixturevalue("rabbitmq_url" if broker == "rabbitmq" else "redis_server")
    shop = Shop(database)
    shop.own.dialects[ACCOUNT] = stripe(ACCOUNT, SECRET.encode())  # type: ignore[index]
    envelopes = [shop.payment(shop.order(f"TEAPOT-{number}")) for number in range(ORDERS)]
    forged = shop.payment("TEAPOT-0") | {"body": envelopes[1]["body"]}
    link = Link(Settings(broker_url=url, broker_prefix=prefix))
    for envelope in [*envelopes[:30], forged, "no envelope", *envelopes[30:]]:
        link.send([json.dumps(envelope).encode()], 4)
    link.close()

    with stack(tmp_path, database_url, url, PAIDONCE_BROKER_PREFIX=prefix) as own:
        own.start("worker")
        until(lambda: shop.statuses()["applied"] == ORDERS and len(shop.rows(cases)) == 2, lambda: own.tail("worker"))
        until(lambda: len(shop.rows(packs)) == ORDERS + 2, lambda: own.tail("worker"))
        log = (tmp_path / "worker.log").read_text()

    sizes = [json.loads(line)["packs"] for line in re.findall(r"^\{.*packs applied.*\}$", log, re.MULTILINE)]
    assert max(sizes) > 1, sizes
    assert all(row.applied_at is not None and row.members == 1 for row in shop.rows(packs))
    assert {row.kind for row in shop.rows(cases)} == {"dead"}
    with database.connect() as connection:
        assert not any(violations(connection).values())
