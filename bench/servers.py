"""The servers of a run: those that the environment names, or, with --own-servers, new ones that end with it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.guard import guarded
from tests.chaos.own_rabbitmq import OwnRabbitMQ
from tests.chaos.own_servers import Servers, own_servers


def run_again(words: Sequence[str]) -> int:
    """`python -m bench <words>` beside PostgreSQL, RabbitMQ and Redis of its own. Raises ServerMissing."""
    folder = Path(tempfile.mkdtemp(prefix="paidonce-bench-servers-"))
    try:
        with guarded(folder), own_servers("rabbitmq", folder) as servers:
            environment = {**os.environ, **_leading_to(servers)}
            return subprocess.run([sys.executable, "-m", "bench", *words], env=environment, check=False).returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _leading_to(servers: Servers) -> dict[str, str]:
    broker = servers.broker
    if not isinstance(broker, OwnRabbitMQ) or servers.lock is None:
        raise RuntimeError("the run's own broker is RabbitMQ, its own lock is Redis")
    return {
        **broker.tools(),
        "PAIDONCE_TEST_DATABASE_URL": servers.postgres.sqlalchemy_url,
        "PAIDONCE_TEST_BROKER_URL": broker.url(),
        "PAIDONCE_TEST_REDIS_URL": f"redis://127.0.0.1:{servers.lock.port}/0",
    }
