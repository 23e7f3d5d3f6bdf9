"""What the stores say of a version: reports with what failed in them, and checks of the snapshot readers get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.lifecycle.checklist import Evidence, ItemStatus, LookAheadFound, ReportFound, assemble
from mlops_assets.lifecycle.evidence import gather
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.storage.parquet.snapshots import Provenance
from tests.lifecycle.worlds import NOW, Stores, small_spec, stores, training_set

VERSION, SHA256 = "a" * 64, "c" * 64


@dataclass(frozen=True)
class Report:
    sha256: str = SHA256
    inputs: Mapping[str, str] = field(default_factory=lambda: {"models/signal_classifier": VERSION})


@dataclass(frozen=True)
class Reports:
    """One sealed report of every scenario."""

    content: Mapping[str, Any]

    def find_latest(self, name: str) -> Report:
        return Report()

    def record(self, sha256: str) -> Mapping[str, Any]:
        assert sha256 == SHA256
        return self.content


def _record(*, is_kept: bool, is_believed: bool) -> Mapping[str, Any]:
    def contender(*checks: tuple[str, bool]) -> Mapping[str, Any]:
        return {"checks": [{"check": name, "is_passed": passed, "summary": ""} for name, passed in checks]}

    return {
        "results": {
            "signal_ml": contender(("out_of_sample", is_believed), ("data_complete", True)),
            "buy_and_hold": contender(("data_complete", is_believed)),
        },
        "gates": [
            {
                "candidate": "signal_ml",
                "metric": "turnover",
                "bound": "at most 25",
                "value": 30.0,
                "is_passed": is_kept,
            },
            {"candidate": "signal_ml", "metric": "maximum_drawdown", "bound": "at least -0.4", "value": -0.3}
            | {"is_passed": True},
        ],
        "summary": {"checks": 3, "failed_checks": 0, "gates": 2, "failed_gates": 0},
    }


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    made = stores(tmp_path, is_mlflow_prepared=False)
    provenance = Provenance(code_version="1", inputs={})
    made.snapshots.publish("features/momentum", training_set(), provenance=provenance, actor="tests")
    return made


def _gather(kept: Stores, record: Mapping[str, Any], found: LookAheadFound | None = None) -> Evidence:
    version = ModelVersion(
        model="signal_classifier",
        version=1,
        fingerprint=VERSION,
        artifact_sha256=SHA256,
        training_set_fingerprint=SHA256,
        code_version=SHA256,
        run_id="run",
        stage="experimental",
        metadata={"kind": "classifier", "skill": {"gains": []}, "fold_gaps": []},
        metrics={},
        created_at=NOW,
        created_by="dagster",
    )
    look_ahead = {"momentum": found}
    return gather(
        small_spec(),
        version,
        scenarios=["covid_crash"],
        look_ahead=look_ahead,
        snapshots=kept.snapshots,
        reports=Reports(record),
    )


@pytest.mark.parametrize(
    ("is_kept", "is_believed", "checks", "gates", "status"),
    [
        (True, True, (), (), ItemStatus.PASSED),
        (False, True, (), ("turnover of signal_ml (30.0, not at most 25)",), ItemStatus.FAILED),
        (True, False, ("data_complete of buy_and_hold", "out_of_sample of signal_ml"), (), ItemStatus.FAILED),
    ],
)
def test_what_failed_in_the_sealed_record_is_part_of_the_evidence(
    kept: Stores, is_kept: bool, is_believed: bool, checks: tuple[str, ...], gates: tuple[str, ...], status: ItemStatus
):
    evidence = _gather(kept, _record(is_kept=is_kept, is_believed=is_believed))
    bounds = [("turnover", "at most 25"), ("maximum_drawdown", "at least -0.4")]
    found = ReportFound(
        sha256=SHA256,
        version_fingerprint=VERSION,
        gates_fingerprint=fingerprint([{"candidate": "signal_ml", "metric": one, "bound": two} for one, two in bounds]),
        failed_checks=checks,
        failed_gates=gates,
    )
    assert evidence.reports == {"covid_crash": found}
    (item,) = [item for item in assemble(evidence).items if item.name == "report.covid_crash"]
    assert item.status is status


def test_a_look_ahead_check_counts_for_the_snapshot_that_readers_get(kept: Stores):
    record = _record(is_kept=True, is_believed=True)
    head = kept.snapshots.head("features/momentum").fingerprint
    current, outdated = (
        LookAheadFound(is_passed=True, snapshot_fingerprint=one, cuts=("2020-02-19",), rows_compared=9)
        for one in (head, "0" * 64)
    )
    assert _gather(kept, record, current).look_ahead == {"momentum": current}
    assert _gather(kept, record, outdated).look_ahead == {"momentum": None}
    assert _gather(kept, record).look_ahead == {"momentum": None}
