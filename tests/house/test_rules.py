"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.project import PACKAGE, modules

KINDS_OF_CODE = {"utils", "helpers", "common", "base", "manager", "misc"}
READS_THE_ENVIRONMENT = {
    "settings.py",  # the one reader of settings
    "__main__.py",  # runs before settings can be imported
    "storage/failpoints.py",  # how a crash test reaches into a child process
}
THE_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}
HEAVY = ("evidently", "shap", "mlflow", "wandb", "lightgbm", "sklearn", "matplotlib", "pandas", "exchange_calendars")


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_rooms_and_modules_are_named_after_subjects():
    named = [relative(path) for path in modules() if {path.stem, *path.relative_to(PACKAGE).parts} & KINDS_OF_CODE]
    assert named == []


def test_an_init_is_empty_or_a_docstring():
    for path in (path for path in modules() if path.name == "__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body), path


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_a_module_says_what_it_answers(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert path.name == "__init__.py" or ast.get_docstring(tree), "the module has no docstring"


def test_only_the_settings_read_the_environment():
    readers = {relative(path) for path in modules() if reads_environment(ast.parse(path.read_text(encoding="utf-8")))}
    assert readers - READS_THE_ENVIRONMENT == set()


@pytest.mark.parametrize(
    ("code", "is_reader"),
    [
        ("import os; os.environ['A']", True),
        ("import os; os.getenv('A')", True),
        ("from os import environ", True),
        ("from os import getenv as asked, path", True),
        ("from os import path", False),
        ("from settings import environ", False),
        ("import os; os.getpid()", False),
    ],
)
def test_a_reader_of_the_environment_is_recognised(code: str, is_reader: bool):
    assert reads_environment(ast.parse(code)) is is_reader


def reads_environment(tree: ast.Module) -> bool:
    return any(_names_the_environment(node) for node in ast.walk(tree))


def _names_the_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(one.name in THE_ENVIRONMENT for one in node.names)
    is_of_os = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    return is_of_os and node.attr in THE_ENVIRONMENT


def test_the_bootstrap_needs_nothing_but_the_standard_library_of_an_old_python():
    source = (PACKAGE / "__main__.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 7))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [
        name
        for node in at_import
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    ]
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


def test_loading_the_definitions_imports_nothing_heavy():
    load = "import sys; from mlops_assets.definitions import defs; defs()"
    code = f"{load}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[]"
