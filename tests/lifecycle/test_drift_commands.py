"""`mlops drift`: what is beyond its limit, and who dealt with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.cli.app import main
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from mlops_assets.lifecycle.drift import FeatureDrift, Score, Statistic
from mlops_assets.lifecycle.drift_events import DriftEvent
from tests.cli.people import sign_in_as
from tests.rest.client import Services, services_in

Mlops = Callable[..., tuple[int, str, str]]


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    made = services_in(tmp_path, SystemClock())
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    sign_in_as(made, monkeypatch, "ann", Role.MLOPS)
    return made


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str]) -> Mlops:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _event(services: Services, finding: FeatureDrift) -> DriftEvent:
    opened = services.drift_events.observe(finding, subject="drift/m", snapshot_fingerprint="a" * 64, actor="dagster")
    assert opened is not None
    return opened


def _measured() -> FeatureDrift:
    score = Score(statistic=Statistic.KS, value=0.5, threshold=0.2, effective_windows=9.0)
    return FeatureDrift(feature="rsi_14", scores=(score,))


def test_an_event_is_acknowledged_and_resolved_by_the_first_characters_of_its_id(mlops: Mlops, services: Services):
    event = _event(services, _measured())
    for verb, status in (("acknowledge", "acknowledged"), ("resolve", "resolved")):
        code, out, _ = mlops("drift", verb, event.id[:8], "--note", f"why {verb}", "--json")
        assert (code, json.loads(out)["status"]) == (0, status)
    entries = list(services.ledger.entries(actor="ann"))
    assert [(entry.action, entry.reason) for entry in entries] == [
        ("drift_event.acknowledge", "why acknowledge"),
        ("drift_event.resolve", "why resolve"),
    ]
    code, _, err = mlops("drift", "resolve", event.id[:8], "--note", "again")
    assert (code, err.split(":")[0]) == (1, "error [conflict]")


def test_an_id_that_fits_none_or_several_says_what_to_do(mlops: Mlops, services: Services):
    _event(services, _measured())
    _event(services, FeatureDrift(feature="return_1d", reason="the column is String"))
    for given, remedy in (("zz", "mlops drift list"), ("", "Give more characters")):
        code, _, err = mlops("drift", "acknowledge", given, "--note", "why")
        assert (code, err.split(":")[0]) == (1, "error [not_found]")
        assert remedy in err


def test_dealing_with_an_event_needs_a_note(mlops: Mlops, services: Services):
    event = _event(services, _measured())
    assert mlops("drift", "resolve", event.id)[0] == 2


def test_what_was_not_measured_is_said_in_words_and_is_null_for_programs(mlops: Mlops, services: Services):
    _event(services, FeatureDrift(feature="return_1d", reason="the column is String"))
    _, table, _ = mlops("drift", "list")
    (row,) = [line for line in table.splitlines() if "return_1d:not_measured" in line]
    cells = [cell.strip() for cell in row.strip("│┃| ").split("│")]
    assert cells[4:6] == ["not measured", "-"]
    (shown,) = json.loads(mlops("drift", "list", "--json")[1])
    assert (shown["metric_value"], shown["threshold"]) == (None, None)
