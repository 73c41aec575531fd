"""What stops a process at its start: one clear line, and no notification taken."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = ["-m", "celery", "-A", "worker.app", "worker", "-Q", "paidonce.apply"]
BEAT = ["-m", "celery", "-A", "worker.app", "beat"]
WEB = ["-m", "uvicorn", "receiver.app:app", "--port", "0"]


def _start(python: str, words: list[str], accounts: str, folder: Path, **environ: str) -> tuple[int, str]:
    file = folder / "accounts.toml"
    file.write_text(accounts)
    result = subprocess.run(
        [python, *words],
        cwd=ROOT,
        env=os.environ | {"PAIDONCE_ACCOUNTS": str(file), "PAIDONCE_BROKER_URL": "amqp://127.0.0.1:1//"} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


STRIPE = '[accounts.shop]\nprovider = "stripe"\nsecrets = ["env:WALRUS"]\n'


@pytest.mark.parametrize("words", [WORKER, BEAT], ids=["worker", "beat"])
def test_a_retention_below_the_horizon_stops_the_start(python: str, words: list[str], tmp_path: Path) -> None:
    """Stripe may send again for 30 days; rows kept for 20 would be gone by then."""
    code, said = _start(
        python, words, STRIPE, tmp_path, WALRUS="whsec_uncommon_walrus", PAIDONCE_STATUS_RETENTION_DAYS="20"
    )

    assert code != 0
    assert "PAIDONCE_STATUS_RETENTION_DAYS" in said
    assert "redelivers for 30 days" in said


@pytest.mark.parametrize("words", [WEB, WORKER, BEAT], ids=["web", "worker", "beat"])
@pytest.mark.parametrize("secret", ["", "changeme"], ids=["empty", "placeholder"])
def test_an_unsafe_secret_stops_the_start(python: str, words: list[str], secret: str, tmp_path: Path) -> None:
    """An empty secret would accept everything that anybody signs with it."""
    code, said = _start(python, words, STRIPE, tmp_path, WALRUS=secret)

    assert code != 0
    assert "accounts.shop.secrets" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", [WEB, WORKER, BEAT], ids=["web", "worker", "beat"])
def test_another_broker_stops_the_start(python: str, words: list[str], tmp_path: Path) -> None:
    """A broker that loses messages is not taken by mistake."""
    code, said = _start(
        python, words, STRIPE, tmp_path, WALRUS="whsec_uncommon_walrus", PAIDONCE_BROKER_URL="memory://"
    )

    assert code != 0
    assert "PAIDONCE_BROKER_URL" in said


@pytest.mark.parametrize("words", [WORKER, BEAT], ids=["worker", "beat"])
def test_a_broker_of_celerys_own_variable_stops_the_start(python: str, words: list[str], tmp_path: Path) -> None:
    """CELERY_BROKER_URL goes before ours: the worker would listen where nobody publishes."""
    code, said = _start(
        python, words, STRIPE, tmp_path, WALRUS="whsec_uncommon_walrus", CELERY_BROKER_URL="amqp://127.0.0.1:1//"
    )

    assert code != 0
    assert "CELERY_BROKER_URL" in said
    assert "unset it" in said


@pytest.mark.parametrize("words", [WORKER, BEAT], ids=["worker", "beat"])
@pytest.mark.parametrize(
    ("module", "said"),
    [
        (None, "ModuleNotFoundError: No module named 'kitchen'"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("on = (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("stock = 3", "registers nothing"),
        ("from tasks.handlers import on\n@on('order.payed')\ndef f(s, o, e): ...", "'order.payed' is none of"),
        ("from tasks.handlers import on\n@on('order.paid')\ndef f(): ...", "takes (session, order, event)"),
    ],
    ids=["no module", "its import fails", "no Python", "exits", "registers nothing", "unknown name", "wrong signature"],
)
def test_handlers_that_cannot_be_used_stop_the_start(
    python: str, words: list[str], module: str | None, said: str, tmp_path: Path
) -> None:
    """A shop without its handlers would take money and never touch its stock."""
    if module is not None:
        (tmp_path / "kitchen.py").write_text(module)
    code, output = _start(
        python,
        words,
        STRIPE,
        tmp_path,
        WALRUS="whsec_uncommon_walrus",
        PAIDONCE_HANDLERS="kitchen",
        PYTHONPATH=str(tmp_path),
    )

    assert code != 0
    assert said in output
    assert "Traceback" not in output
