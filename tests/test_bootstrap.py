"""The first command knows when the environment is what it should be, and says what is missing where it can't be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.project import PACKAGE, ROOT

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a stand-in interpreter is a shell script")

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with a stand-in for the CLI, so that nothing has to be installed."""
    (tmp_path / "mlops_assets" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(PACKAGE / name, tmp_path / "mlops_assets")
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "mlops_assets" / "cli" / "__init__.py").touch()
    (tmp_path / "mlops_assets" / "cli" / "__main__.py").write_text("import sys; print('ran', *sys.argv[1:])")
    return tmp_path


def run(clone: Path, *arguments: str, start: tuple[str, ...] = ("-m", "mlops_assets"), **variables: str):
    """Run the first command as a user does, with no setting of this test run around."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "PYTHON", "PIP_"))}
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=clone,
        env={**others, "LC_ALL": "C.UTF-8", **variables},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def stamp(clone: Path, *names: str) -> None:
    """Pretend that these locks were installed into an environment whose Python is the running one."""
    import hashlib

    (clone / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    written = {name: hashlib.sha256((clone / name).read_bytes()).hexdigest() for name in names}
    written["environment"] = str(clone / ".venv")
    (clone / ".venv" / "mlops-stamp.json").write_text(json.dumps(written))


def test_a_stamped_environment_is_used_at_once(clone: Path):
    stamp(clone, "requirements.txt", "pyproject.toml")
    answer = run(clone, "up", "--probe")
    assert (answer.returncode, answer.stdout) == (0, "ran up --probe\n")


@pytest.mark.parametrize("changed", ["requirements.txt", "pyproject.toml"])
def test_a_changed_lock_asks_for_a_new_installation(clone: Path, changed: str):
    stamp(clone, "requirements.txt", "pyproject.toml")
    with (clone / changed).open("a") as stream:
        stream.write("\n# changed\n")
    answer = run(clone, "up", **OFFLINE)
    assert answer.returncode == 1
    assert "Preparing" in answer.stdout


def test_the_development_lock_is_asked_for_by_check_alone(clone: Path):
    stamp(clone, "requirements.txt", "pyproject.toml")
    answer = run(clone, "check", **OFFLINE)
    assert answer.returncode == 1
    assert "Preparing" in answer.stdout


def test_a_failed_installation_leaves_no_stamp_and_says_how_to_resume(clone: Path):
    answer = run(clone, "up", **OFFLINE)
    assert answer.returncode == 1
    assert not (clone / ".venv" / "mlops-stamp.json").exists()
    assert (clone / ".venv" / "bin" / "python").exists()
    assert "Run the same command again" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert str(clone / ".venv" / "install.log") in answer.stderr


def test_it_speaks_korean_where_the_locale_does(clone: Path):
    answer = run(clone, "up", LC_ALL="ko_KR.UTF-8", PYTHONUTF8="1", **OFFLINE)
    assert "같은 명령을 다시 실행하면" in answer.stderr


def test_the_running_interpreter_can_be_used_as_it_is(clone: Path):
    (clone / "mlops_assets" / "cli" / "app.py").write_text("def main(arguments):\n    print(arguments)\n    return 3\n")
    answer = run(clone, "kpis", "--json", MLOPS_ENVIRONMENT="current")
    assert (answer.returncode, answer.stdout) == (3, "['kpis', '--json']\n")
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_a_python_out_of_range_is_refused_with_the_remedy(clone: Path, version: tuple[int, int]):
    code = (
        f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; sys.argv = ['mlops_assets', 'up'];"
        "import runpy; runpy.run_module('mlops_assets', run_name='__main__')"
    )
    answer = run(clone, start=("-c", code))
    assert answer.returncode == 1
    assert "3.11 to 3.14" in answer.stderr
    assert f"{version[0]}.{version[1]}" in answer.stderr
    assert not (clone / ".venv").exists()
