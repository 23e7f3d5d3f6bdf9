from pathlib import Path

import numpy as np
import pytest
import yaml

from mlops_assets.catalog.strategies import sma_crossover
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.kernel.errors import InvalidDeclaration
from tests.evaluation.worlds import FILE, scenario

CATALOG = Path(sma_crossover.__file__).parents[1]


def some_signal(market, *, days: int):
    return np.full(market.prices.shape, np.nan)


def strategy(**changes) -> Strategy:
    content = {
        "name": "some_rule",
        "version": "1.0.0",
        "owner": "team:quant",
        "description": "Does nothing.",
        "signal": some_signal,
        "parameters": {"days": 3},
    }
    return Strategy(**{**content, **changes})


def test_the_shipped_scenario_says_what_the_contract_asks():
    file = CATALOG / "scenarios" / "covid_crash.yaml"
    shipped = Scenario.from_mapping(yaml.safe_load(file.read_text()), file)
    assert shipped.replayed == ("buy_and_hold", "sma_crossover", "signal_ml")
    assert (shipped.costs.fraction, shipped.initial_cash, shipped.position_limit) == (0.0015, 100_000.0, 0.2)
    assert shipped.fill == "next_close"


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"windw": 1}, "windw", "window"),
        ({"window": {"start": "2020-02-01", "end": "2020-01-01"}}, "window", "not after"),
        ({"candidates": []}, "candidates", "at least 1"),
        ({"candidates": ["buy_and_hold"]}, "candidates", "twice"),
        ({"position_limit": 1.5}, "position_limit", "less than or equal to 1"),
        ({"initial_cash": float("inf")}, "initial_cash", "finite"),
        ({"owner": "me"}, "owner", "team:"),
        ({"costs": {"commision_bps": 10}}, "costs.commision_bps", "commission_bps"),
        ({"fill": "same_close"}, "fill", "next_close"),
        ({"gates": [{"metric": "sharpe_ratio"}]}, "gates.0", "at_least"),
        ({"gates": [{"metric": "sharpe_ratio", "at_least": 0, "candidate": "other"}]}, "gates", "other"),
        ({"stress_events": [{"label": "x", "start": "2019-01-02", "end": "2020-01-03"}]}, "stress_events", "outside"),
        (
            {
                "stress_events": [
                    {"label": "x", "start": "2020-01-02", "end": "2020-01-10"},
                    {"label": "y", "start": "2020-01-10", "end": "2020-01-20"},
                ]
            },
            "stress_events",
            "overlap",
        ),
    ],
)
def test_a_faulty_scenario_names_its_file_field_and_remedy(change, field, hint):
    with pytest.raises(InvalidDeclaration) as caught:
        scenario(**change)
    assert caught.value.field == field
    assert str(FILE) in str(caught.value)
    assert hint in str(caught.value)


def test_a_scenario_is_the_same_wherever_its_file_lies():
    content = yaml.safe_load((CATALOG / "scenarios" / "covid_crash.yaml").read_text())
    here, there = (Scenario.from_mapping(content, Path(folder) / "covid_crash.yaml") for folder in ("a", "b"))
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint != Scenario.from_mapping({**content, "seed": 1}, Path("a")).fingerprint


def test_a_strategy_knows_the_file_of_its_signal():
    assert strategy().declared_in == Path(__file__)
    assert sma_crossover.STRATEGY.declared_in.name == "sma_crossover.py"


def test_a_strategy_with_other_parameters_or_code_is_another_strategy(tmp_path):
    copy = tmp_path / "copy.py"
    copy.write_text("# the same name, other code\n")
    prints = {one.fingerprint for one in (strategy(), strategy(parameters={"days": 4}), strategy(declared_in=copy))}
    assert len(prints) == 3


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"parameters": {"day": 3}}, "parameters", "days"),
        ({"parameters": {}}, "parameters", "no value"),
        ({"parameters": {"days": float("nan")}}, "parameters", "finite"),
        ({"name": "Some Rule"}, "name", "lower-case"),
        ({"version": "1"}, "version", "1.0.0"),
        ({"owner": "me"}, "owner", "team:"),
        ({"description": " "}, "description", "empty"),
    ],
)
def test_a_faulty_strategy_names_its_field_and_remedy(change, field, hint):
    with pytest.raises(InvalidDeclaration) as caught:
        strategy(**change)
    assert caught.value.field == field
    assert hint in str(caught.value)
