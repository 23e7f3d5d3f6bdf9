from __future__ import annotations

from pathlib import Path

import pytest

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.prompts.spec import PromptVersion
from tests.prompts.examples import PROMPT, prompt


def test_a_prompt_says_who_owns_it_and_what_it_narrates():
    version = prompt()
    assert (version.name, version.report, version.candidate) == ("narrator@1.0.0", "crash", "sma_crossover")
    assert version.system == "Answer in {{ language }}."


def test_the_fingerprint_ignores_layout_and_place_but_not_words():
    assert prompt(PROMPT.replace("locales: [en, ko]", "locales:\n  - en\n  - ko")).fingerprint == prompt().fingerprint
    assert prompt(folder=Path("elsewhere")).fingerprint == prompt().fingerprint
    assert prompt(PROMPT.replace("Answer in", "Reply in")).fingerprint != prompt().fingerprint
    assert prompt(PROMPT.replace("claims_per_answer: 1", "claims_per_answer: 2")).fingerprint != prompt().fingerprint


@pytest.mark.parametrize(
    ("replaced", "by", "field", "problem"),
    [
        ("owner: team:quant", "owner: team:quant\nowner: team:else", "", "appears twice"),
        ("owner: team:quant", "ownr: team:quant", "ownr", "Did you mean 'owner'"),
        ("owner: team:quant", "owner: nobody", "owner", "pattern"),
        ("locales: [en, ko]", "locales: [en, fr]", "locales", "'en' or 'ko'"),
        ("locales: [en, ko]", "locales: &a [en, *a]", "", "alias"),
        ("claims_per_answer: 1", "supported_claims: .nan", "", "not JSON"),
        ("id: narrator", "id: teller", "id", "folder's name"),
        ("{{ question }}", "{{ queston }}", "(body)", "undeclared variables ['queston']"),
        ("{{ question }}", "what?", "variables", "never uses ['question']"),
        ("Answer in {{ language }}.", "Answer {{ question }} in {{ language }}.", "(body)", "untrusted ['question']"),
        ("Answer in", "{% for x in language %}{{ x }}{% endfor %} in", "(body)", "For is not allowed"),
        ("Answer in", "{{ language.__class__ }} in", "(body)", "Getattr is not allowed"),
        ("Answer in", "{% include 'a' %} in", "(body)", "Include is not allowed"),
        ("Answer in", "{{ 'a' * 100000000 }} in", "(body)", "Mul is not allowed"),
        ("Answer in", "{% if %} in", "(body)", "Expected an expression"),
        ("# User\n", "", "(body)", "one system and one user part"),
        ("candidate: sma_crossover\n", "", "", "go together"),
        ("additionalProperties: false", "additionalProperties: true", "", "additionalProperties: false"),
        ('{question: "What happened?"}', "{}", "", "give exactly ['question']"),
        ("policies: [HYPO-01, PROM-01]", "policies: [HYPO-01, HYPO-01]", "", "named twice"),
    ],
)
def test_a_wrong_declaration_names_the_file_and_the_problem(replaced: str, by: str, field: str, problem: str):
    assert replaced in PROMPT
    with pytest.raises(InvalidDeclaration) as refused:
        prompt(PROMPT.replace(replaced, by, 1))
    assert "1.0.0.md" in str(refused.value)
    assert problem in str(refused.value)
    assert field in refused.value.field
    assert refused.value.remedy


def test_the_file_is_called_like_the_version():
    with pytest.raises(InvalidDeclaration, match=r"1\.0\.0\.md"):
        PromptVersion.parse(PROMPT, Path("prompts/narrator/2.0.0.md"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no front matter",
        "---\n---\n# System\na\n# User\nb",
        PROMPT + "x" * 10_000_000,
        "---\n" + "[" * 50_000 + "\n---\n",
    ],
    ids=["empty", "none", "empty fields", "ten megabytes", "deep"],
)
def test_what_is_no_prompt_is_refused(text: str):
    with pytest.raises(InvalidDeclaration):
        PromptVersion.parse(text, Path("prompts/narrator/1.0.0.md"))
