"""The reference says what the code says, and every link of a page leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_assets.cli.docs import FOLDER, pages
from mlops_assets.settings import checking_environment
from tests.house.project import ROOT

PAGES_OF_THE_PROJECT = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SETTINGS_OF_CHECKS = {"ENVIRONMENT", "FAILPOINT"}
_CODE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|tmp|work|Users|mnt)/\w")


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links_of(page: Path) -> Iterator[str]:
    """Yield the relative links of a page; those in code are examples."""
    for match in _LINK.finditer(_CODE.sub("", page.read_text(encoding="utf-8"))):
        link = match[1] or match[2]
        if not re.match(r"[a-z]+:", link):
            yield link


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a page's headings get: lower case, punctuation gone, spaces to dashes."""
    headings = _HEADING.findall(_CODE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_reference_pages_are_what_the_code_says(tmp_path: Path):
    environment = {**checking_environment(tmp_path), "COLUMNS": "40", "MLOPS_UI_PORT": "3999"}
    command = [sys.executable, "-m", "mlops_assets.cli", "docs", "--check"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_reference_folder_holds_nothing_else():
    assert {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()} == set(pages())


@pytest.mark.parametrize("page", PAGES_OF_THE_PROJECT, ids=page_name)
def test_every_link_of_a_page_leads_somewhere(page: Path):
    broken: list[str] = []
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        is_found = target.is_relative_to(ROOT) and target.exists()
        if not is_found or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES_OF_THE_PROJECT, ids=page_name)
def test_a_page_names_no_place_on_a_machine(page: Path):
    assert _MACHINE_PATH.findall(page.read_text(encoding="utf-8")) == []


def test_every_setting_that_a_page_names_exists():
    from mlops_assets.settings import PREFIX, Settings

    known = {name.upper() for name in Settings.model_fields} | SETTINGS_OF_CHECKS
    named = {
        name for page in PAGES_OF_THE_PROJECT for name in re.findall(rf"\b{PREFIX}([A-Z_]+)\b", page.read_text("utf-8"))
    }
    assert named - known == set()


def test_every_picture_is_shown_on_a_page():
    shown = {(page.parent / link).resolve() for page in PAGES_OF_THE_PROJECT for link in links_of(page)}
    assert set((ROOT / "docs" / "screenshots").glob("*.png")) - shown == set()
