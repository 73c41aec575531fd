"""The usual answer (bench/naive_receiver.py, bench/naive_worker.py) with the settings that its users choose.

`NAIVE_VARIANT` names them. `celery -A tests.chaos.peer_app worker`, `uvicorn tests.chaos.peer_app:api`.
"""

import os
from typing import Any

from bench import naive_worker
from bench.naive_receiver import api

__all__ = ["VARIANTS", "api", "app"]

#: Celery's own defaults, said aloud where bench/naive_worker.py says something else.
_DEFAULTS: dict[str, Any] = {
    "task_acks_late": False,
    "task_reject_on_worker_lost": None,
    "worker_prefetch_multiplier": 4,
    "broker_transport_options": {},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": _DEFAULTS,
    "acks_late": _DEFAULTS | {"task_acks_late": True},
    "acks_late, reject_on_worker_lost, confirm_publish": _DEFAULTS
    | {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "broker_transport_options": {"confirm_publish": True},
    },
}

app = naive_worker.app
app.conf.update(VARIANTS[os.environ.get("NAIVE_VARIANT", "defaults")])
