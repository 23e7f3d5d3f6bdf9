"""`mlops features check|release|diff|retire|rollback` over a catalogue of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from tests.cli.people import sign_in_as
from tests.features.catalogues import PACE, Views
from tests.rest.client import services_in

WIDER = {**PACE, "slower": 'pl.col("adjusted_close").pct_change(9)'}


@pytest.fixture
def mlops(mlops):
    """Run `mlops features …`."""
    return lambda *arguments: mlops("features", *arguments)


@pytest.fixture
def views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Views:
    made = Views(tmp_path / "catalog")
    made.declare("1.0.0")
    monkeypatch.setenv("MLOPS_CATALOG_PATH", str(made.folder))
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    return made


@pytest.fixture
def as_ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in_as(services_in(tmp_path, SystemClock()), monkeypatch, "ann", Role.DATA_ENGINEER)


@pytest.mark.usefixtures("views")
def test_a_release_is_made_once_and_checked_from_then_on(mlops):
    before = mlops("check")
    assert before.code == 0
    assert "mlops features release pace" in before.out
    assert [one["version"] for one in mlops("release", "pace", "--json").json] == ["1.0.0"]
    (row,) = mlops("check", "--json").json
    assert (row["standing"], row["released"], row["differences"]) == ("released", "1.0.0", [])
    again = mlops("release", "pace")
    assert (again.code, again.err.split(":")[0]) == (1, "error [conflict]")


def test_a_version_that_is_too_low_is_an_exit_code(mlops, views: Views):
    mlops("release", "pace")
    views.declare("1.0.1", WIDER)
    answer = mlops("check", "pace", "--json")
    (row,) = answer.json
    assert (answer.code, row["standing"], row["demanded"]) == (1, "refused", "1.1.0")
    assert {(one["demands"], one["column"], one["what"]) for one in row["differences"]} == {
        ("minor", "slower", "added")
    }
    assert answer.err.startswith("refused: feature view pace in ")
    assert answer.err.endswith("column slower: added. This demands at least 1.1.0\n")
    assert mlops("release", "pace").err.startswith("error [version_refused]: feature view pace in ")
    views.declare("1.1.0", WIDER)
    assert mlops("check").code == 0


def test_all_views_are_released_after_those_they_read(mlops, views: Views):
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.fast")'}, name="double")
    released = mlops("release", "--all", "--json").json
    assert [one["view"] for one in released] == ["pace", "double"]
    assert mlops("release", "--all", "--json").json == []
    assert mlops("release").code == mlops("release", "pace", "--all").code == 2


def test_a_tampered_record_is_an_exit_code_and_the_file_is_named(mlops, views: Views):
    mlops("release", "pace")
    record = views.releases.folder / "pace" / "1.0.0" / "release.json"
    record.write_text(record.read_text().replace("team:ana", "team:eve"))
    answer = mlops("check", "--json")
    assert answer.code == 1
    assert "pace/1.0.0/release.json" in answer.json[0]["message"]


def test_a_difference_is_shown_with_who_reads_the_column(mlops, views: Views):
    mlops("release", "pace")
    views.declare("2.0.0", {**WIDER, "fast": 'pl.col("adjusted_close").diff(1)'})
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.fast")'}, name="double")
    shown = mlops("diff", "pace", "--json").json
    assert (shown["from"], shown["to"], shown["demanded"]) == ("1.0.0", "2.0.0", "2.0.0")
    fast = next(one for one in shown["differences"] if one["column"] == "fast")
    assert (fast["demands"], fast["read_by"]) == ("major", ["view double"])
    mlops("release", "pace")
    between = mlops("diff", "pace", "--from", "1.0.0", "--to", "2.0.0", "--json").json
    assert {one["column"] for one in between["differences"]} == {"fast", "slower"}
    assert "nothing differs" in mlops("diff", "pace").out


@pytest.mark.usefixtures("as_ann")
def test_an_older_major_that_somebody_reads_is_not_retired(mlops, views: Views):
    mlops("release", "pace")
    views.declare("2.0.0", {"fast": 'pl.col("adjusted_close").diff(1)'})
    views.declare("1.0.0", {"twice": '2 * pl.col("pace_v1.slow")'}, name="double")
    assert {row["view"] for row in mlops("check", "--json").json} == {"pace", "pace_v1", "double"}
    refused = mlops("retire", "pace", "1", "--reason", "old")
    assert (refused.code, refused.err.split(":")[0]) == (1, "error [conflict]")
    assert "double.py: field 'columns'" in refused.err
    assert mlops("retire", "pace", "2", "--reason", "old").code == 1
    (views.folder / "feature_views" / "double.py").unlink()
    retired = mlops("retire", "pace", "1", "--reason", "old", "--json").json
    assert (retired["reason"], retired["retired_by"]) == ("old", "ann")
    assert {row["view"] for row in mlops("check", "--json").json} == {"pace"}


@pytest.mark.usefixtures("as_ann")
def test_a_released_source_that_no_longer_runs_can_be_retired(mlops, views: Views, tmp_path: Path):
    shared = tmp_path / "window.txt"
    shared.write_text("5")
    for name in ("pace", "tempo"):
        views.declare("1.0.0", {"slow": f'pl.col("close").diff(int(Path("{shared}").read_text()))'}, name=name)
        assert mlops("release", name).code == 0
        views.declare("2.0.0", {"fast": PACE["fast"]}, name=name)
    shared.write_text("no number")
    refused = mlops("check")
    assert (refused.code, refused.err.split(":")[0]) == (1, "error [invalid_declaration]")
    assert "mlops features retire pace 1" in refused.err
    for name in ("pace", "tempo"):
        assert mlops("retire", name, "1", "--reason", "it no longer runs").code == 0
    assert mlops("check").code == 0


def test_a_rollback_needs_an_installation_and_leaves_a_ledger_entry(
    mlops, views: Views, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mlops("release", "pace")
    views.declare("1.1.0", WIDER)
    mlops("release", "pace")
    assert mlops("rollback", "pace", "1.0.0", "--reason", "r").err.startswith("error [store_unavailable]")
    services = services_in(tmp_path, SystemClock())
    assert mlops("rollback", "pace", "1.0.0", "--reason", "r").err.startswith("error [unauthenticated]")
    sign_in_as(services, monkeypatch, "vic", Role.VIEWER)
    assert mlops("rollback", "pace", "1.0.0", "--reason", "r").err.startswith("error [forbidden]")
    sign_in_as(services, monkeypatch, "ann", Role.MLOPS)
    shown = mlops("rollback", "pace", "1.0.0", "--reason", "slower is wrong", "--json").json
    assert (shown["view"], shown["active_version"]) == ("pace", "1.0.0")
    assert services.feature_registry.state("pace").active_version == "1.0.0"
    assert [(one.actor, one.reason) for one in services.feature_registry.history("pace")][-1] == (
        "ann",
        "slower is wrong",
    )
    assert mlops("rollback", "pace", "7.0.0", "--reason", "r").err.startswith("error [not_found]")


@pytest.mark.parametrize("command", [("check",), ("release",), ("diff",)])
@pytest.mark.usefixtures("views")
def test_a_view_that_is_not_declared_has_a_near_miss(mlops, command: tuple[str, ...]):
    answer = mlops(*command, "pase")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [unknown_reference]")
    assert "'pace'" in answer.err


@pytest.mark.usefixtures("views")
def test_what_was_released_and_is_gone_is_said(mlops, views: Views):
    mlops("release", "pace")
    (views.folder / "feature_views" / "pace.py").unlink()
    views.declare("1.0.0", name="other")
    answer = mlops("check")
    assert answer.code == 0
    assert "not declared any more: pace" in answer.out
