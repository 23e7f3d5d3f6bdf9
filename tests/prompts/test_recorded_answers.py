"""The answers that ship with the project fit the prompts that ship with it, word for word and number for number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import mlops_assets.catalog
from mlops_assets.prompts.facts import check_numbers
from mlops_assets.prompts.grade import FACTS, Output, grade
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.providers import Recorded, Recording
from mlops_assets.prompts.render import render
from mlops_assets.prompts.spec import PromptVersion
from tests.prompts import examples

CATALOG = Path(mlops_assets.catalog.__file__).parent
PROMPTS = [PromptVersion.parse(file.read_text(encoding="utf-8"), file) for file in CATALOG.glob("prompts/*/*.md")]
RULES = {
    file.stem: PolicyRule.parse(file.read_text(encoding="utf-8"), file) for file in CATALOG.glob("policies/*.yaml")
}
PROVIDER = Recorded(CATALOG / "prompts")
RECORDINGS = [
    (version, one)
    for version in PROMPTS
    for one in PROVIDER.recordings(version.id)
    if one.request["version"] == version.version
]
each_recording = pytest.mark.parametrize(
    ("version", "recording"), RECORDINGS, ids=[recording.file.stem for _, recording in RECORDINGS]
)


def told(recording: Recording) -> Any:
    """Return what the recorded request told of the report."""
    text = str(recording.as_json()["request"]["messages"][1]["text"])
    (data,) = re.findall(r"<data>\n(.*)\n</data>", text, re.DOTALL)
    return json.loads(data)


def test_every_shipped_version_has_an_answer_in_each_of_its_languages():
    recorded = {(version.name, one.request["locale"], one.request["case"]) for version, one in RECORDINGS}
    assert recorded == {
        (version.name, locale, case.name) for version in PROMPTS for locale in version.locales for case in version.cases
    }


@each_recording
def test_the_answer_belongs_to_the_prompt_as_it_is_now(version: PromptVersion, recording: Recording):
    locale: Any = recording.request["locale"]
    (case,) = [case for case in version.cases if case.name == recording.request["case"]]
    sources = {"locale": locale, "report": told(recording)}
    values = {one.name: sources.get(one.source, case.values.get(one.name)) for one in version.variables}
    assert render(version, values, locale=locale, case=case.name).sha256 == recording.request_sha256


@each_recording
def test_every_number_is_anchored_and_prints_what_the_prompt_was_told(version: PromptVersion, recording: Recording):
    text = json.dumps(recording.answer, ensure_ascii=False, default=dict)
    anchors = re.findall(r"\[\[([^|\]]+)\|([^\]]+)\]\]", text)
    data = told(recording)["data"]
    assert len(anchors) >= version.thresholds.claims_per_answer
    assert [(key, printed) for key, printed in anchors if data[key] != printed] == []
    assert {claim.kind for claim in check_numbers(text, examples.FACTS)} == {"anchored"}


@each_recording
def test_the_answer_keeps_its_schema_and_every_rule(version: PromptVersion, recording: Recording):
    output = Output(
        locale="ko" if recording.request["locale"] == "ko" else "en",
        case=str(recording.request["case"]),
        answer=recording.as_answer(),
    )
    evaluation = grade(version, [output], examples.FACTS, RULES)
    assert [check for check in evaluation.checks if check.name != FACTS and check.score < 1] == []
    assert {origin.kind for origin in evaluation.origins} == {"recorded"}
