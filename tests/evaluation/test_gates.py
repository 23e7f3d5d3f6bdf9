import pytest

from mlops_assets.evaluation.gates import apply_gates, require_known_metrics
from mlops_assets.kernel.errors import UnknownReference
from tests.evaluation.worlds import scenario

GATES = [{"metric": "sharpe_ratio", "at_least": 0.5}, {"metric": "win_rate", "at_least": 0.1, "candidate": "other"}]
TWO = {"candidates": ["sma_crossover", "other"], "gates": GATES}


def test_a_gate_binds_every_candidate_or_the_one_it_names():
    found = apply_gates(
        scenario(**TWO),
        {"sma_crossover": {"sharpe_ratio": 0.5}, "other": {"sharpe_ratio": 0.4, "win_rate": 0.2}},
    )
    assert [(one.candidate, one.metric, one.is_passed) for one in found] == [
        ("sma_crossover", "sharpe_ratio", True),
        ("other", "sharpe_ratio", False),
        ("other", "win_rate", True),
    ]


def test_a_missing_metric_fails_its_gate():
    found = apply_gates(scenario(**TWO), {"sma_crossover": {"sharpe_ratio": None}, "other": {}})
    assert [one.is_passed for one in found] == [False, False, False]


def test_a_gate_on_an_unknown_metric_names_the_near_miss():
    with pytest.raises(UnknownReference, match="sharpe_ratio"):
        require_known_metrics(scenario(gates=[{"metric": "sharp_ratio", "at_least": 1}]))
