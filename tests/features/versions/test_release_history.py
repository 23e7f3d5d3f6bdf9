"""A released record that was rewritten so that it proves itself is still not what Git first held."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mlops_assets.features.versions.release_history import RecordRewritten, first_committed
from mlops_assets.features.versions.releases import RECORD, SOURCE
from mlops_assets.features.versions.version_check import Standing
from tests.features.catalogues import PACE, Views

OTHER = {**PACE, "slow": 'pl.col("adjusted_close").pct_change(6)'}


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def committed(tmp_path: Path) -> Views:
    """A clone in which 1.0.0 of a view was released and committed."""
    views = Views(tmp_path / "catalog")
    views.declare("1.0.0")
    views.release()
    git(tmp_path, "init", "--quiet")
    commit(views)
    return views


def commit(views: Views) -> None:
    git(views.folder, "add", "--all")
    git(views.folder, "commit", "--quiet", "--message", "release")


def release_anew(views: Views) -> None:
    """Delete the newest release and release something else under its number, as somebody in a hurry would."""
    shutil.rmtree(views.releases.folder / "pace")
    views.declare("1.0.0", OTHER)
    views.releases.write(views.all["pace"], views.all)


@pytest.mark.parametrize("is_committed", [False, True])
def test_the_newest_release_made_again_under_its_number_is_refused(committed: Views, is_committed: bool):
    assert committed.check().standing is Standing.RELEASED
    release_anew(committed)
    if is_committed:
        commit(committed)
    verdict = committed.check()
    assert verdict.standing is Standing.REFUSED
    assert f"pace/1.0.0/{RECORD}" in verdict.message
    assert "git checkout" in verdict.message


def test_a_release_that_was_removed_is_refused(committed: Views):
    shutil.rmtree(committed.releases.folder / "pace")
    with pytest.raises(RecordRewritten, match=rf"pace/1\.0\.0/{RECORD} is gone since commit"):
        committed.releases.verify("pace")
    assert committed.check().standing is Standing.REFUSED


def test_what_was_restored_is_right_again_whatever_happened_between(committed: Views):
    record = committed.releases.folder / "pace" / "1.0.0"
    kept = {name: (record / name).read_bytes() for name in (RECORD, SOURCE, "values.parquet")}
    release_anew(committed)
    commit(committed)
    for name, content in kept.items():
        (record / name).write_bytes(content)
    committed.declare("1.0.0")
    assert committed.check().standing is Standing.RELEASED


def test_a_release_that_is_not_committed_may_be_made_again(committed: Views):
    committed.declare("1.1.0", {**PACE, "more": 'pl.col("adjusted_close").pct_change(2)'})
    committed.release()
    shutil.rmtree(committed.releases.folder / "pace" / "1.1.0")
    committed.declare("1.1.0", {**PACE, "most": 'pl.col("adjusted_close").pct_change(3)'})
    committed.release()
    assert committed.check().standing is Standing.RELEASED


def test_a_retirement_may_be_taken_back(committed: Views):
    retired = committed.releases.folder / "pace" / "retired_v0.json"
    retired.write_text('{"view": "pace", "major": 0, "reason": "r", "retired_at": "", "retired_by": "ana"}')
    commit(committed)
    retired.unlink()
    assert committed.check().standing is Standing.RELEASED


def test_where_there_is_no_history_nothing_is_known(tmp_path: Path):
    assert first_committed(tmp_path) == {}
    assert first_committed(tmp_path / "nothing") == {}
