from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import mlops_assets.catalog
from mlops_assets.prompts.context import planned_requests
from mlops_assets.prompts.grade import Evaluation, Output, grade
from mlops_assets.prompts.outputs import ask
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.providers import Scripted
from tests.prompts.examples import FACTS, TRUE_EN, TRUE_KO, prompt

POLICIES = Path(mlops_assets.catalog.__file__).parent / "policies"
RULES = {file.stem: PolicyRule.parse(file.read_text(encoding="utf-8"), file) for file in POLICIES.glob("*.yaml")}


def answered(english: str, korean: str = TRUE_KO) -> list[Output]:
    texts = {("en", "plain"): english, ("ko", "plain"): korean}
    wrapped = {
        at: text if text.startswith(("{", "[", "n")) else json.dumps({"summary": text}) for at, text in texts.items()
    }
    return ask(prompt(), FACTS, Scripted(wrapped))


def evaluated(english: str, korean: str = TRUE_KO) -> Evaluation:
    return grade(prompt(), answered(english, korean), FACTS, RULES)


def test_true_answers_pass_every_check():
    evaluation = evaluated(TRUE_EN)
    assert evaluation.failures == ()
    assert evaluation.is_passed
    assert {check.name for check in evaluation.checks} == {"schema", "facts", "policies"}
    assert evaluation.origins[0].kind == "scripted"


@pytest.mark.parametrize(
    ("english", "failure"),
    [
        (TRUE_EN.replace("12.3%", "13.2%"), "contradicted"),
        (TRUE_EN + " It will gain 40% next year.", "unsupported"),
        ("A hypothetical result without a number.", "0 numeric claims"),
        (TRUE_EN.replace("hypothetical ", ""), "HYPO-01"),
        (TRUE_EN + " Profits are guaranteed.", "PROM-01"),
        ("not json", "not JSON"),
        ('{"summary": "a long enough text", "summary": "and again"}', "appears twice"),
        ('{"summary": NaN}', "NaN is not JSON"),
        ('{"summary": "short"}', "too short"),
        ('{"summary": "a long enough text", "more": 1}', "unexpected"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_false_answer_fails_and_says_why(english: str, failure: str):
    evaluation = evaluated(english)
    assert not evaluation.is_passed
    assert failure in " ".join(evaluation.failures)


def test_each_language_is_asked_for_its_own_word():
    assert "HYPO-01" in " ".join(evaluated(TRUE_EN, TRUE_KO.replace("가상의 ", "")).failures)


def test_an_evaluation_that_lacks_a_check_does_not_pass():
    evaluation = evaluated(TRUE_EN)
    for missing in evaluation.checks:
        without = replace(evaluation, checks=tuple(check for check in evaluation.checks if check is not missing))
        assert not without.is_passed
        assert "did not run" in without.failures[0]


def test_an_evaluation_of_nothing_does_not_pass():
    assert not grade(prompt(), [], FACTS, RULES).is_passed
    assert not replace(evaluated(TRUE_EN), expected=frozenset[tuple[str, str, str]](), checks=()).is_passed


def test_a_score_that_is_no_number_does_not_pass():
    evaluation = evaluated(TRUE_EN)
    broken = replace(evaluation.checks[0], score=float("nan"))
    assert not replace(evaluation, checks=(broken, *evaluation.checks[1:])).is_passed


def test_missing_facts_or_rules_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="facts lack"):
        grade(prompt(), answered(TRUE_EN), None, RULES)
    with pytest.raises(ValueError, match="PROM-01"):
        grade(prompt(), answered(TRUE_EN), FACTS, {"HYPO-01": RULES["HYPO-01"]})


def test_requests_are_asked_in_the_same_order_every_time():
    assert [one.locale for one in planned_requests(prompt(), FACTS)] == ["en", "ko"]
