"""A long run without kills: what grows? Memory and descriptors of the same processes, sessions, queues, files.

`python -m tests.chaos --profile soak --minutes 30`. The last line is JSON; exit code 1 when something leaks or is lost.
"""

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg

from .accounts import sandbox_accounts
from .check import compare_outbox, examine
from .guard import guarded
from .own_servers import POISONED_ORDERS, Servers, insert_orders, own_servers
from .planned import ACCOUNTS
from .provider import Journal, Provider
from .run import drain
from .sampler import Sampler
from .stack import Stack, our_stack
from .workload import build

#: Notifications per second, and resets of every broker connection per minute: 100 in half an hour.
RATE, RESETS = 30, 100 / 30
#: Seconds of silence before the last count.
SILENCE = 45.0
#: MB that a process may have grown by at most, from warm to the end: a leak of one kB for each notification is 50.
MOST_GROWTH = 40.0
#: Descriptors that a process may hold more at the end than when it was warm.
MOST_DESCRIPTORS = 10


def soak(seed: int, kind: str, minutes: float, say: Callable[[str], None]) -> int:
    """The exit code."""
    folder = Path(tempfile.mkdtemp(prefix="paidonce-chaos-"))
    with guarded(folder), own_servers(kind, folder) as servers:
        report = _soak(seed, servers, folder, minutes * 60, say)
    report = {"profile": "soak", "seed": seed, "broker": kind, "minutes": minutes, **report}
    wrong = _wrong(report)
    for line in wrong:
        say(f"leak: {line}")
    if wrong:
        say(f"logs in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(report) + "\n")
    return 1 if wrong else 0


def _soak(seed: int, servers: Servers, folder: Path, span: float, say: Callable[[str], None]) -> dict[str, Any]:
    workload = build(seed, int(span * RATE), span)
    accounts, dialects = sandbox_accounts(folder, ACCOUNTS, 'stripe_account = "acct_ours"\n')
    servers.postgres.migrate()
    with psycopg.connect(servers.postgres.url, autocommit=True) as connection:
        connection.execute(POISONED_ORDERS)
    servers.broker.listen()
    insert_orders(servers.postgres.url, workload.orders)
    scratch = folder / "tmp"
    scratch.mkdir()
    environment = {
        **accounts,
        **servers.broker.environment(servers.proxy.port),
        "PAIDONCE_DATABASE_URL": servers.postgres.sqlalchemy_url,
        "PAIDONCE_RETRY_BASE_SECONDS": "0.1",
        "TMPDIR": str(scratch),
    }
    stack = our_stack(environment, folder, receivers=2, workers=2, beats=2)
    journal = Journal(folder / "acknowledged")
    provider = Provider(dialects, stack.doors, journal, seed)
    sampler = Sampler(stack)
    with stack.running():
        sampler.start()
        unacknowledged = asyncio.run(_live(servers, provider, workload.planned, span, stack))
        say("the load is over")
        drain(servers, journal)
        holds = servers.broker.holdings()
        time.sleep(SILENCE)
        sampler.stop()
        left = {
            "sessions": _sessions(servers),
            "connections": servers.broker.connections(),
            "queues": sorted(servers.broker.holdings()),
            "queues_before": sorted(holds),
            "files": [str(path) for path in scratch.rglob("*") if path.is_file()],
        }
    journal.close()
    found = examine(
        servers.postgres.url,
        os.environ | environment,
        acknowledged=journal.acknowledged,
        fooled=provider.fooled,
        orders=workload.orders,
    )
    compare_outbox(servers.postgres.url, servers.broker.told(), found)
    return {
        "notifications": workload.notifications,
        "deliveries": provider.deliveries,
        "resets": resets(span),
        "unacknowledged": unacknowledged,
        "lost": len(found.lost),
        "double_applied": len(found.double_applied),
        "untold": len(found.untold),
        "invariants_broken": sorted(name for name, rows in found.invariants.items() if rows),
        "died_alone": stack.died_alone,
        "processes": len(stack.processes),
        "growth": sampler.growth(),
        **left,
    }


async def _live(servers: Servers, provider: Provider, planned: Any, span: float, stack: Stack) -> int:
    load = asyncio.create_task(provider.deliver(planned, 60.0))
    supervisor = asyncio.create_task(stack.supervise())
    for _ in range(resets(span)):
        await asyncio.sleep(span * 0.95 / resets(span))
        servers.proxy.reset()
    unacknowledged = await load
    supervisor.cancel()
    return unacknowledged


def resets(span: float) -> int:
    """How many in a run of `span` seconds."""
    return max(1, round(RESETS * span / 60))


def _sessions(servers: Servers) -> int:
    wanted = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with psycopg.connect(servers.postgres.url) as connection:
        row = connection.execute(wanted).fetchone()
    return int(row[0]) if row else 0


def _wrong(report: Mapping[str, Any]) -> list[str]:
    """What leaked, in words."""
    children = 4
    bounds = {
        "sessions": 2 * children,
        # A receiver has one; a worker its consumer's and two of its pool, each child the outbox's; a beat two.
        "connections": 2 + 2 * 3 + children + 2 * 2,
        **dict.fromkeys(("unacknowledged", "lost", "double_applied", "untold"), 0),
    }
    wrong = [f"{name}: {report[name]}, at most {most}" for name, most in bounds.items() if report[name] > most]
    wrong += [f"{name}: {report[name]}" for name in ("files", "invariants_broken", "died_alone") if report[name]]
    if len(report["queues"]) > len(report["queues_before"]):
        wrong.append(f"queues: {report['queues']}, before {report['queues_before']}")
    for role, facts in report["growth"].items():
        if facts["last_mb"] - facts["first_mb"] > MOST_GROWTH or facts["more_descriptors"] > MOST_DESCRIPTORS:
            wrong.append(f"{role}: {facts}")
    return wrong
