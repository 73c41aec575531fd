"""The sizes of a run."""

from collections.abc import Mapping
from dataclasses import dataclass

#: Which faults, and how often in a night: docs/reliability.md says what each does.
NIGHT: Mapping[str, int] = {
    "worker_child_kill": 220,
    "worker_kill": 60,
    "worker_stop": 30,
    "worker_sigterm": 20,
    "worker_sigquit": 10,
    "receiver_kill": 60,
    "receiver_stop": 20,
    "receiver_sigterm": 20,
    "beat_kill": 10,
    "clock_jump": 6,
    "pg_terminate_backend": 300,
    "postgres_crash": 10,
    "postgres_disk_full": 2,
    "broker_crash": 10,
    "broker_stop": 10,
    "broker_connections_closed": 30,
    "broker_memory_alarm": 3,
    "broker_disk_alarm": 3,
    "broker_disk_full": 2,
    "queue_deleted": 4,
    "network_stall": 40,
    "network_reset": 80,
    "network_one_way": 40,
    "lock_crash": 10,
    "lock_flush": 4,
    "lock_pause": 10,
}
#: Each kind once.
ONCE: Mapping[str, int] = dict.fromkeys(NIGHT, 1)
#: For the test suite: without what takes long or is a variant of another.
_FEW = ONCE | dict.fromkeys(
    (
        "receiver_sigterm",
        "receiver_stop",
        "lock_flush",
        "lock_pause",
        "broker_disk_alarm",
        "broker_disk_full",
        "postgres_disk_full",
    ),
    0,
)
#: kill -9 of processes alone, as any platform does: the servers stay up.
KILLS = ("worker_child_kill", "worker_kill", "receiver_kill")


@dataclass(frozen=True)
class Profile:
    """`span` in seconds, start and drain not counted; `longest_stop`: the longest that a process stands still."""

    notifications: int
    span: float
    faults: Mapping[str, int]
    longest_stop: float
    receivers: int = 2
    workers: int = 2
    beats: int = 2


PROFILES = {
    "tiny": Profile(300, 20.0, _FEW, 4.0),
    "smoke": Profile(2_000, 60.0, ONCE | {"worker_child_kill": 3, "worker_kill": 2, "pg_terminate_backend": 3}, 8.0),
    "nightly": Profile(60_000, 1_800.0, NIGHT, 40.0),
    "release": Profile(500_000, 14_400.0, {kind: 8 * count for kind, count in NIGHT.items()}, 40.0),
}
