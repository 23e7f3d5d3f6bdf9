from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_assets.kernel.errors import IntegrityViolation, InvalidDeclaration
from mlops_assets.prompts.context import latest_facts, planned_requests
from mlops_assets.prompts.providers import AnswerRefused, NoRecordedAnswer, Recorded, Scripted, written_by
from mlops_assets.prompts.recording import pending_requests, record_answer, with_stored_numbers
from tests.prompts.examples import FACTS, KPIS, PROMPT, Reports, StoredKpi, prompt


def test_a_recorded_answer_is_found_by_its_request_and_says_who_wrote_it(tmp_path: Path):
    english, korean = planned_requests(prompt(), FACTS)
    record_answer(english, {"summary": "in English"}, prompts=tmp_path, origin=written_by("a tester"))
    record_answer(korean, {"summary": "한국어로"}, prompts=tmp_path, origin=written_by("a tester"))
    answer = Recorded(tmp_path).answer(korean)
    assert json.loads(answer.text) == {"summary": "한국어로"}
    assert answer.origin.kind == "recorded"
    assert answer.origin.statement == "Written by a tester as a recorded example; no live model produced it."


def test_a_miss_says_what_differs_and_what_to_do(tmp_path: Path):
    (english, _) = planned_requests(prompt(), FACTS)
    record_answer(english, {"summary": "in English"}, prompts=tmp_path, origin=written_by("a tester"))
    moved = replace(FACTS, kpis={**KPIS, "crash.buy_and_hold.sharpe_ratio": StoredKpi(0.7, "ratio")})
    (asked, _) = planned_requests(prompt(), moved)
    with pytest.raises(NoRecordedAnswer) as missed:
        Recorded(tmp_path).answer(asked)
    assert asked.sha256 in str(missed.value)
    assert "0.70" in str(missed.value)
    assert "ModelProvider" in str(missed.value)


def test_the_request_ignores_what_rounding_hides(tmp_path: Path):
    moved = {key: StoredKpi(kpi.value * (1 + 1e-12), kpi.unit) for key, kpi in KPIS.items()}
    facts = latest_facts(prompt(), Reports(moved))
    assert [one.sha256 for one in planned_requests(prompt(), facts)] == [
        one.sha256 for one in planned_requests(prompt(), latest_facts(prompt(), Reports()))
    ]


def test_a_recording_whose_request_was_edited_is_refused(tmp_path: Path):
    (english, _) = planned_requests(prompt(), FACTS)
    file = record_answer(english, {"summary": "in English"}, prompts=tmp_path, origin=written_by("a tester"))
    file.write_text(file.read_text(encoding="utf-8").replace("What happened?", "What else?"), encoding="utf-8")
    with pytest.raises(IntegrityViolation):
        Recorded(tmp_path).answer(english)


def test_a_file_that_is_no_recording_is_named(tmp_path: Path):
    (english, _) = planned_requests(prompt(), FACTS)
    record_answer(english, {"summary": "in English"}, prompts=tmp_path, origin=written_by("a tester")).write_text(
        "[]", encoding="utf-8"
    )
    with pytest.raises(InvalidDeclaration, match="no recording"):
        Recorded(tmp_path).answer(english)


def test_an_answer_without_end_is_refused():
    (english, _) = planned_requests(prompt(), FACTS)
    with pytest.raises(AnswerRefused):
        Scripted({("en", "plain"): "x" * 200_000}).answer(english)


def test_only_requests_without_an_answer_are_pending(tmp_path: Path):
    english, korean = planned_requests(prompt(), FACTS)
    record_answer(english, {"summary": "in English"}, prompts=tmp_path, origin=written_by("a tester"))
    assert pending_requests(prompt(), FACTS, Recorded(tmp_path)) == [korean]


def test_a_draft_gets_its_numbers_from_the_report():
    draft = {"a": "It made [[crash.sma_crossover.total_return]].", "b": ["[[crash.sma_crossover.trades|9]] trades"]}
    assert with_stored_numbers(draft, FACTS) == {
        "a": "It made [[crash.sma_crossover.total_return|12.3%]].",
        "b": ["[[crash.sma_crossover.trades|123]] trades"],
    }


def test_a_prompt_without_a_report_needs_no_facts():
    text = PROMPT
    for line in ("report: crash\n", "candidate: sma_crossover\n", "baseline: buy_and_hold\n", "{{ facts }}\n"):
        text = text.replace(line, "")
    text = text.replace("metrics: [total_return, sharpe_ratio]\n", "")
    text = "\n".join(line for line in text.splitlines() if "name: facts" not in line)
    version = prompt(text)
    assert latest_facts(version, Reports()) is None
    assert len(planned_requests(version, None)) == 2
