from dataclasses import replace

import numpy as np
import pytest

from mlops_assets.evaluation.checks import Verdict
from mlops_assets.evaluation.evaluate import Evaluation
from mlops_assets.evaluation.report import build_record, seal
from mlops_assets.kernel.errors import Conflict, NotFound
from tests.evaluation.reports import EXPLAINED, SCENARIO, contenders
from tests.evaluation.stores import build_house
from tests.evaluation.worlds import curve


@pytest.fixture
def house(tmp_path):
    return build_house(tmp_path)


def evaluation(equity: list[float]) -> Evaluation:
    return Evaluation(
        scenario="january",
        candidate="sma_crossover",
        inputs={"market/bars": "b" * 64},
        result=curve(equity),
        metrics={"total_return": 0.1, "win_rate": None},
        verdicts=(Verdict(check="data_complete", is_passed=True, summary="fine", facts={"days": 3}),),
    )


def sealed(last_target: float = 0.0):
    return seal(build_record(SCENARIO, contenders(last_target), [EXPLAINED]), b"<html>" + str(last_target).encode())


def test_a_replay_is_kept_once_and_read_back_whole(house):
    saved = house.reports.save_replay(evaluation([1, 2, 3]), actor="dagster")
    assert house.reports.save_replay(evaluation([1, 2, 3]), actor="somebody") == saved
    assert house.reports.replay(saved.id) == saved
    assert saved.metrics == {"total_return": 0.1, "win_rate": None}
    assert [entry.action for entry in house.ledger.entries()] == ["replay.run"]


def test_another_result_from_the_same_inputs_is_refused(house):
    first = house.reports.save_replay(evaluation([1, 2, 3]), actor="dagster")
    with pytest.raises(Conflict, match="same inputs"):
        house.reports.save_replay(evaluation([1, 2, np.nextafter(3, 4)]), actor="dagster")
    assert house.reports.replay(first.id).result_fingerprint == first.result_fingerprint


def test_a_report_is_sealed_with_its_kpis_and_one_ledger_entry(house):
    report = sealed()
    stored = house.reports.seal(report, actor="dagster")
    assert stored.sha256 == report.sha256
    assert house.reports.seal(report, actor="dagster") == stored
    assert house.reports.html(stored.sha256) == report.html
    assert house.reports.record(stored.sha256)["name"] == "january"
    assert set(house.reports.kpis(stored.sha256)) == {kpi.key for kpi in report.kpis}
    (entry,) = house.ledger.entries(action="report.seal")
    assert (entry.subject, entry.after) == ("reports/january", report.sha256)


def test_the_latest_report_is_the_one_sealed_last_even_if_it_is_an_old_one(house):
    first, second = sealed(), sealed(0.3)
    for report in (first, second, first):
        house.reports.seal(report, actor="dagster")
    assert house.reports.latest("january").sha256 == first.sha256
    assert {one.sha256 for one in house.reports.history("january")} == {first.sha256, second.sha256}
    assert [entry.before for entry in house.ledger.entries(action="report.seal")] == [
        None,
        first.sha256,
        second.sha256,
    ]


def test_sealings_name_the_replays_of_the_candidates_the_last_first(house):
    first, second = sealed(), sealed(0.3)
    for report in (first, second, first):
        house.reports.seal(report, actor="dagster")
    assert [one.report.sha256 for one in house.reports.sealings()] == [first.sha256, second.sha256, first.sha256]
    assert all(one.runs == {"sma_crossover": "s" * 64} for one in house.reports.sealings("january"))
    assert house.reports.sealings("february") == []


def test_a_kpi_is_read_from_the_latest_report_by_its_key(house):
    report = sealed()
    house.reports.seal(report, actor="dagster")
    wanted = next(kpi for kpi in report.kpis if kpi.key == "january.sma_crossover.total_return")
    assert house.reports.kpi(wanted.key) == wanted
    with pytest.raises(NotFound, match=r"sma_crossover\.total_return"):
        house.reports.kpi("january.sma_crossover.total_retur")
    with pytest.raises(NotFound, match="reports/february"):
        house.reports.kpi("february.sma_crossover.total_return")


def test_a_failed_seal_leaves_neither_row_nor_entry(house):
    report = sealed()
    broken = replace(report, kpis=(*report.kpis, report.kpis[0]))
    with pytest.raises(Exception, match="UNIQUE"):
        house.reports.seal(broken, actor="dagster")
    assert house.reports.find_latest("january") is None
    assert list(house.ledger.entries()) == []
