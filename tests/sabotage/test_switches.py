"""The list of sabotages does not rot."""

from pathlib import Path

import pytest
from sabotage.copies import copied
from sabotage.switches import SWITCHES, Switch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_still_fits_the_code(switch: Switch, tmp_path: Path) -> None:
    """Each patch matches exactly once, one after the other, and leaves Python behind; its tests are there."""
    for path in {patch.path for patch in switch.patches}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())

    for patch in switch.patches:
        patch.apply(tmp_path)

    for patch in switch.patches:
        compile((tmp_path / patch.path).read_text(), patch.path, "exec")
    for test in switch.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / path).read_text()


def test_a_copy_is_the_code_without_its_environment(tmp_path: Path) -> None:
    """What a sabotaged run sees is what stands here, and nothing that was installed or cached."""
    copied(ROOT, tmp_path / "copy")

    assert (tmp_path / "copy" / "celeryconfig.py").read_text() == (ROOT / "celeryconfig.py").read_text()
    assert not (tmp_path / "copy" / ".venv").exists()
    assert not (tmp_path / "copy" / ".git").exists()
