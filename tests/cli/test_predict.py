"""`mlops predict`: one screen for a quant, JSON for programs, one line for every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from tests.cli.people import sign_in_as
from tests.lifecycle.predicting import DAYS, MODEL, World, slot, world_in


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = world_in(tmp_path)
    made.clock.at = SystemClock().now()  # the command's own clock, by which its token is judged
    monkeypatch.setenv("MLOPS_HOME", str(made.services.settings.home))
    sign_in_as(made.services, monkeypatch, "quincy", Role.QUANT)
    made.move(1)
    return made


def test_a_prediction_for_the_past_is_the_published_one(world: World, mlops):
    row = world.table(1).filter(symbol="AAPL", date=DAYS[390]).row(0, named=True)
    said = mlops("predict", MODEL, "AAPL", "--as-of", str(DAYS[390]), "--json").json
    assert (said["model"], said["symbol"], said["epoch"], said["environment"]) == (MODEL, "AAPL", 1, "staging")
    assert said["as_of"] == f"{DAYS[390]}T23:59:59.999999Z"
    (answer,) = said["answers"]
    assert (answer["version"], answer["deployment_id"]) == (1, slot(1).deployment_id)
    assert answer["outputs"] == {name: row[name] for name in ("probability", "bucket")}


def test_one_screen_says_what_and_from_what(world: World, mlops):
    shown = mlops("predict", MODEL, "AAPL", "--as-of", f"{DAYS[390]}T22:30Z")
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) <= 24
    for words in (
        "signal_classifier says of AAPL",
        "probability",
        "bucket",
        "signal_classifier@1",
        "champion",
        "staging, move 1",
        "momentum 1.0.0 (features/momentum@1)",
        "momentum.rsi_14",
        f"{DAYS[390]} 22:00:00",
    ):
        assert words in shown.out


def test_what_was_asked_on_the_command_line_counts_too(world: World, mlops):
    for _ in range(2):
        assert mlops("predict", MODEL, "IBM", "--as-of", str(DAYS[390]), "--json").code == 0
    assert world.services.health.of(slot(1).deployment_id).request_count == 2


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["AAPL"], 1, "error [features_stale]: AAPL has only old features"),
        (
            ["AAPLE"],
            1,
            "error [unknown_symbol]: No symbol is called 'AAPLE' among the 4 of market/bars. Did you mean AAPL?",
        ),
        (["AAPL", "--as-of", "2010-01-01"], 1, "error [as_of_before_first]"),
        (["AAPL", "--as-of", "9999-01-01"], 1, "error [as_of_in_future]"),
        (["AAPL", "--as-of", "yesterday"], 2, "write it like 2020-06-08T21:00Z"),
        (["AAPL", "--environment", "production"], 1, "error [no_champion]"),
        (["AAPL", "--environment", "prod"], 1, "known: development, production, staging"),
        (["AAPL", "--held-weight", "0.5", "--as-of", str(DAYS[390])], 1, "error [wrong_question]"),
    ],
)
@pytest.mark.usefixtures("world")
def test_a_refusal_is_one_line_with_its_code(mlops, arguments: list[str], code: int, words: str):
    refused = mlops("predict", MODEL, *arguments)
    assert (refused.code, refused.out) == (code, "")
    assert words in refused.err
    assert "Traceback" not in refused.err


def test_who_may_not_predict_is_told_what_it_takes(world: World, mlops, monkeypatch: pytest.MonkeyPatch):
    sign_in_as(world.services, monkeypatch, "vi", Role.VIEWER)
    refused = mlops("predict", MODEL, "AAPL")
    assert (refused.code, "model.predict" in refused.err) == (1, True)
