from __future__ import annotations

from pathlib import Path

import pytest

import mlops_assets.catalog
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.strict_yaml import read_mapping
from mlops_assets.prompts.policy import Passage, PolicyRule

POLICIES = Path(mlops_assets.catalog.__file__).parent / "policies"
FILES = sorted(POLICIES.glob("*.yaml"))

RULE = """
id: TEST-01
version: 1.0.0
title: No shouting
severity: low
audience: [retail]
citation: House rule
rationale: It is loud.
forbids: {en: ['\\bhurry\\b'], ko: ['서두르']}
fixtures:
  en: {flagged: [Hurry up, please hurry, hurry now], clean: [do not hurry, never hurry, take your time]}
  ko: {flagged: [서두르세요, 빨리 서두르자, 서두르면 됩니다], clean: [서두르지 마세요. 아니, 천천히, 서두르지 않습니다]}
"""


def rule(name: str) -> PolicyRule:
    file = POLICIES / f"{name}.yaml"
    return PolicyRule.parse(file.read_text(encoding="utf-8"), file)


def flags(name: str, text: str, locale: str = "en") -> bool:
    return bool(rule(name).findings([Passage(where="/summary", text=text)], "ko" if locale == "ko" else "en"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_rule_judges_its_own_examples_rightly(file: Path):
    found = PolicyRule.from_mapping(read_mapping(file.read_text(encoding="utf-8"), file), file)
    for locale, examples in found.fixtures.items():
        for text in examples.flagged:
            (first, *_) = found.findings([Passage(where="/summary", text=text)], locale)
            assert first.quote == text[first.start : first.end]
            assert (first.rule, first.citation, first.where) == (found.id, found.citation, "/summary")
        for text in examples.clean:
            assert found.findings([Passage(where="/summary", text=text)], locale) == []


def test_the_shipped_rules_are_there():
    assert {file.stem for file in FILES} >= {"PROM-01", "HYPO-01", "SEC-01"}


@pytest.mark.parametrize(
    ("text", "locale", "is_flagged"),
    [
        ("Returns are not guaranteed, but we guarantee a profit.", "en", True),
        ("Without doubt this guarantees profits.", "en", True),
        ("This doesn't guarantee any profit.", "en", False),
        ("Nothing here guarantees a return.", "en", False),
        ("수익이 보장되지 않으며, 원금도 보장하지 않습니다.", "ko", False),
        ("손실이 전혀 없는 상품입니다.", "ko", True),
        ("We promise nothing. 원금 100% 보장!", "en", True),
    ],
)
def test_a_promise_is_told_from_its_denial(text: str, locale: str, is_flagged: bool):
    assert flags("PROM-01", text, locale) is is_flagged


def test_one_mention_of_hypothetical_serves_the_whole_answer_in_the_readers_language():
    passages = [
        Passage(where="/summary", text="These are hypothetical results."),
        Passage(where="/risk", text="The maximum drawdown was -25.0%."),
    ]
    assert rule("HYPO-01").findings(passages, "en") == []
    assert rule("HYPO-01").findings(passages, "ko")[0].where == "/risk"


@pytest.mark.parametrize(
    ("replaced", "by", "problem"),
    [
        ("clean: [do not hurry, never hurry, take your time]", "clean: [do not hurry, never hurry]", "at least 3"),
        ("take your time]", "hurry]", "the rule flags 'hurry'"),
        ("Hurry up,", "Walk on,", "the rule misses 'Walk on'"),
        ("'\\bhurry\\b'", "'(hurry'", "missing )"),
        ("'\\bhurry\\b'", "'(hurry)?'", "empty text"),
        ("severity: low", "severity: mild", "'low', 'medium' or 'high'"),
        ("citation: House rule\n", "", "Add 'citation'"),
        ("forbids:", "demands:", "either forbids, or demands when"),
        ("id: TEST-01", "id: TEST-02", "file's name"),
    ],
)
def test_a_wrong_rule_is_refused(replaced: str, by: str, problem: str):
    assert replaced in RULE
    with pytest.raises(InvalidDeclaration) as refused:
        PolicyRule.parse(RULE.replace(replaced, by), Path("TEST-01.yaml"))
    assert problem.lower() in str(refused.value).lower()
