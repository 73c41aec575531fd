"""A forked child of the pool has database sessions of its own, whatever its parent did before."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os
from celery.signals import worker_process_init
from sqlalchemy import text
from worker.database import engine

def session():
    with engine().connect() as connection:
        return connection.execute(text("SELECT pg_backend_pid()")).scalar_one()

before = session()
if os.fork() == 0:
    worker_process_init.send(sender=None)
    print(session(), flush=True)
    os._exit(0)
os.wait()
print(before, session(), flush=True)
"""


def test_a_forked_child_has_sessions_of_its_own(python: str, database_url: str) -> None:
    """Two processes on one socket would read each other's answers."""
    environment = os.environ | {"PAIDONCE_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}

    end = subprocess.run(
        [python, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    child, before, after = end.stdout.split()
    assert child != before == after
