"""Guards of the house: what is declared is used, what is set is documented, what is promised is tested."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from honcho.environ import parse_procfile

import celeryconfig
from domain.verdict import Verdict
from providers.registry import DIALECTS
from worker.app import app
from worker.settings import Settings
from worker.telemetry import ALLOWED_KEYS

ROOT = Path(__file__).parents[2]
PROCESSES = parse_procfile((ROOT / "Procfile").read_text()).processes
ROOMS = ("domain", "providers", "models", "worker", "tasks", "receiver", "ops")
README, README_ZH = ROOT / "README.md", ROOT / "README.zh-CN.md"


def test_the_procfile_names_every_process() -> None:
    """Release, web, worker, beat: the table of contents."""
    assert list(PROCESSES) == ["release", "web", "worker", "beat"]


def test_every_queue_is_consumed() -> None:
    """A queue that no process of the Procfile consumes would fill for ever; the quarantine is for people."""
    words = shlex.split(PROCESSES["worker"])
    consumed = set(words[words.index("-Q") + 1].split(","))

    assert consumed == {queue.name for queue in celeryconfig.task_queues}
    assert celeryconfig.QUARANTINE.name not in consumed


def test_every_beat_entry_resolves_to_a_task() -> None:
    """A typo in the schedule would be a task that never runs."""
    app.loader.import_default_modules()

    for name, entry in celeryconfig.beat_schedule.items():
        assert entry["task"] in app.tasks, name


def test_every_task_has_its_file_and_its_route() -> None:
    """One file per verb, imported by the worker; notifications and chores go to their own queues."""
    app.loader.import_default_modules()
    ours = {name for name in app.tasks if name.startswith("tasks.")}

    # One task more than files: packs that the worker has gathered come in by a name of their own.
    assert ours == {*celeryconfig.imports, "tasks.apply_packs"}
    routed = {name: app.amqp.router.route({}, name)["queue"].name for name in ours}
    assert {routed.pop("tasks.apply_notifications"), routed.pop("tasks.apply_packs")} == {"paidonce.apply"}
    assert set(routed.values()) == {"paidonce.chores"}


def test_the_receivers_task_name_resolves() -> None:
    """Receiver and worker meet only by this name and the envelope."""
    from worker import link

    app.loader.import_default_modules()
    assert link.TASK in app.tasks


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    """docs/settings.md has a row for each, and the row says what the code says."""
    page = (ROOT / "docs" / "settings.md").read_text()

    assert f"| `PAIDONCE_{name.upper()}` |" in page
    assert Settings.model_fields[name].description in page


@pytest.mark.parametrize("word", [*sorted(Verdict), "notification", "delivery", "envelope", "event", "verdict", "case"])
def test_every_house_word_is_in_the_glossary(word: str) -> None:
    """One word per thing, explained once."""
    assert f"**{word}**" in (ROOT / "docs" / "glossary.md").read_text()


@pytest.mark.parametrize("provider", sorted(DIALECTS))
def test_every_dialect_is_documented(provider: str) -> None:
    """docs/accounts.md says how each is set up."""
    assert f'provider = "{provider}"' in (ROOT / "docs" / "accounts.md").read_text()


def test_the_import_contracts_hold() -> None:
    """Doors over hands over mind."""
    lint = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout


def test_celeryconfig_imports_nothing_of_ours() -> None:
    """It is data; import-linter does not see single modules."""
    imports = re.findall(r"^(?:from|import) (\w+)", (ROOT / "celeryconfig.py").read_text(), re.MULTILINE)

    assert set(imports) <= {"os", "kombu"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_says_what_it_is(room: str) -> None:
    """Each folder has one sentence."""
    assert importlib.import_module(room).__doc__


def test_log_keys_name_no_payload() -> None:
    """What may stand in a log line names no body, header, secret or buyer."""
    assert ALLOWED_KEYS.isdisjoint({"body", "headers", "secret", "payload", "envelope", "email", "buyer"})


def promises(page: Path) -> list[str]:
    """The tests that a README names for its promises."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())  # type: ignore[return-value]


@pytest.mark.parametrize("page", [README, README_ZH], ids=lambda page: page.name)
def test_every_promise_names_a_test_that_exists(page: Path) -> None:
    """A promise without a test is a comment."""
    named = promises(page)

    assert len(named) >= 8
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), (file, test)


def test_both_readmes_say_the_same() -> None:
    """The same headings' count, the same commands, the same promises."""
    english, chinese = README.read_text(), README_ZH.read_text()
    commands = re.compile(r"^(?:make|paidonce|git|honcho|export|source|docker|createdb)\b.*$", re.MULTILINE)

    assert promises(README) == promises(README_ZH)
    assert commands.findall(english) == commands.findall(chinese)
    assert len(re.findall(r"^#+ ", english, re.MULTILINE)) == len(re.findall(r"^#+ ", chinese, re.MULTILINE))


def test_no_room_is_called_utils() -> None:
    """A file's name says what belongs there."""
    names = {path.stem for room in ROOMS for path in (ROOT / room).rglob("*.py")}

    assert names.isdisjoint({"utils", "helpers", "common", "misc", "services"})


def test_every_failpoint_is_documented() -> None:
    """docs/failpoints.md has a row for each, and none that the code has not."""
    code = "".join(path.read_text() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    points = re.findall(r'failpoint\.at\("([\w.]+)"\)', code)
    rows = re.findall(r"^\| `(\w+\.\w+)` \|", (ROOT / "docs" / "failpoints.md").read_text(), re.MULTILINE)

    assert sorted(points) == sorted(rows)
