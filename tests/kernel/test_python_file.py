from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.python_file import names_in, object_in


def test_a_file_edited_within_the_same_second_is_read_again_and_no_cache_is_left(tmp_path: Path):
    """In a process of its own that may write caches; the test run may not."""
    program = (
        "import os, sys; from pathlib import Path; from mlops_assets.kernel.python_file import names_in\n"
        "file = Path(sys.argv[1])\n"
        "for text in ('VIEW = 1', 'VIEW = 2'):\n"
        "    file.write_text(text); os.utime(file, (1_700_000_000, 1_700_000_000)); print(names_in(file)['VIEW'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "view.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["view.py"]


@pytest.mark.parametrize("text", ["VIEW = ", "VIEW = missing", "import nowhere_at_all", "VIEW = 'word'"])
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, text: str):
    file = tmp_path / "view.py"
    file.write_text(text)
    with pytest.raises(InvalidDeclaration, match=r"view\.py"):
        object_in(file, "VIEW", int)


def test_the_names_of_a_file(tmp_path: Path):
    file = tmp_path / "view.py"
    file.write_text("VIEW = __file__")
    assert names_in(file)["VIEW"] == str(file)
