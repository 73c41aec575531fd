"""Redis as the broker: there, new enough, a primary, and keeping what it was told."""

from collections.abc import Iterator, Mapping
from typing import Any

import redis

import celeryconfig
from ops.doctor.finding import Finding, error, first_line, ok, warning
from worker.broker import connect
from worker.settings import Settings

OLDEST = (6, 2)
#: What `appendfsync always` alone does not give: name, what it should be, what happens otherwise.
KEPT = (
    ("appendonly", "yes", "a restart loses every notification that waits"),
    ("appendfsync", "always", "a machine that dies loses a second or two of answered notifications"),
    ("no-appendfsync-on-rewrite", "no", "nothing is synced while the file is rewritten"),
    ("maxmemory-policy", "noeviction", "a full memory throws packs away"),
)


def check_redis(own: Settings) -> Iterator[Finding]:
    """Everything about the server and our streams. Makes nothing that is not there."""
    try:
        with connect(own) as connection:
            member = connection.channel().member
            yield from _server(member.client.info())
            yield from _kept(member.client)
            for queue in celeryconfig.task_queues:
                yield _stream(member, queue.name)
            yield _quarantine(member)
    except Exception as why:  # noqa: BLE001 - redis-py's, kombu's and the socket's: each says that it is not to be used
        yield error("broker", f"{first_line(why)} (PAIDONCE_BROKER_URL)")


def _server(facts: Mapping[str, Any]) -> Iterator[Finding]:
    version = str(facts["redis_version"])
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        yield error("broker", f"Redis {version}: 6.2 or newer is needed, for XAUTOCLAIM")
    elif facts.get("cluster_enabled"):
        yield error("broker", "a cluster: our scripts touch two keys; use one primary")
    elif facts["role"] != "master":
        yield error("broker", "a replica takes no writes: point to the primary")
    else:
        yield ok("broker", f"Redis {version}, primary")
    if facts.get("connected_slaves"):
        yield warning(
            "replicas", "copied asynchronously: a failover to one loses what was not copied; that is no promise"
        )
    if facts.get("aof_enabled") and facts.get("aof_last_write_status") != "ok":
        yield error("broker durability", "the last write to the append-only file failed: look at its disk")


def _kept(client: Any) -> Iterator[Finding]:
    try:
        found = {name: client.config_get(name).get(name) for name, _, _ in KEPT}
    except redis.ResponseError as why:
        yield warning("broker durability", f"cannot be read here ({first_line(why)}); it must be {_wanted()}")
        return
    wrong = [(name, wanted, else_) for name, wanted, else_ in KEPT if found[name] != wanted]
    for name, wanted, else_ in wrong:
        yield error("broker durability", f"{name} = {found[name]}: {else_}; set it to {wanted}")
    if not wrong:
        yield ok("broker durability", _wanted())


def _wanted() -> str:
    return ", ".join(f"{name} {wanted}" for name, wanted, _ in KEPT)


def _stream(member: Any, queue: str) -> Finding:
    name = f"queue {queue}"
    if not member.client.exists(member.key(queue)):
        return warning(name, "not there yet: receiver and worker make it when they start")
    waiting = member.client.xlen(member.key(queue))
    consumers = sum(group["consumers"] for group in member.client.xinfo_groups(member.key(queue)))
    told = f"{waiting} waiting or in work, {consumers} consumers"
    return ok(name, told) if consumers else warning(name, f"{told}: start `worker`")


def _quarantine(member: Any) -> Finding:
    kept = member.client.xlen(member.key(celeryconfig.QUARANTINE.name))
    if kept:
        return warning("quarantine", f"{kept} messages: somebody has to look at them")
    return ok("quarantine", "empty")
