"""Is a version fit for use: its answers are checked for their schema, their numbers and the rules they must keep.

Fails closed: a version passes only if every expected check ran on every answer, with a finite score, and passed.
"""

# jsonschema's validators are partly untyped.
# pyright: reportUnknownMemberType=false
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, cast

from jsonschema import Draft202012Validator
from referencing import Registry

from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.words import Locale
from mlops_assets.prompts.facts import Claim, Facts, Verdict, check_numbers, readable
from mlops_assets.prompts.policy import Passage, PolicyFinding, PolicyRule, Severity
from mlops_assets.prompts.providers import Answer, Origin
from mlops_assets.prompts.spec import PromptVersion

SCHEMA, FACTS, POLICIES = "schema", "facts", "policies"
EXPECTED_CHECKS = frozenset({SCHEMA, FACTS, POLICIES})

_MAXIMUM_PROBLEMS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An answer and the locale and case it was given for."""

    locale: Locale
    case: str
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of one answer. `score` is the share that holds, 1 is best."""

    name: str
    locale: Locale
    case: str
    score: float
    is_passed: bool
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What was found about the answers of one version."""

    prompt_id: str
    version: str
    prompt_fingerprint: str
    outputs_fingerprint: str
    report_sha256: str | None
    rules: Mapping[str, str]
    expected: frozenset[tuple[str, str, str]]
    checks: tuple[Check, ...]
    claims: tuple[Claim, ...]
    findings: tuple[PolicyFinding, ...]
    origins: tuple[Origin, ...]

    @property
    def is_passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Say why the version does not pass; empty if it does."""
        done = [(check.name, check.locale, check.case) for check in self.checks]
        missing = [f"{' '.join(one)}: the check did not run" for one in sorted(self.expected.difference(done))]
        twice = ["a check ran twice"] if len(done) != len(set(done)) else []
        nothing = [] if self.expected else ["there is nothing to check"]
        failed = [
            f"{check.name} {check.locale} {check.case}: {'; '.join(check.problems) or f'score {check.score}'}"
            for check in self.checks
            if not check.is_passed or not isfinite(check.score)
        ]
        return (*nothing, *missing, *twice, *failed)

    @property
    def score(self) -> float:
        """Return the lowest score; 0 if nothing was checked."""
        return min((check.score for check in self.checks), default=0.0)

    def as_json(self) -> dict[str, Json]:
        """Return everything but the verdict's subject, for the record."""
        return {
            "report_sha256": self.report_sha256,
            "rules": dict(self.rules),
            "failures": list(self.failures),
            "checks": [
                {
                    "name": check.name,
                    "locale": check.locale,
                    "case": check.case,
                    "score": check.score if isfinite(check.score) else None,
                    "is_passed": check.is_passed,
                    "problems": list(check.problems),
                }
                for check in self.checks
            ],
            "claims": [claim.as_json() for claim in self.claims],
            "findings": [finding.as_json() for finding in self.findings],
            "origins": [{"kind": one.kind, "author": one.author, "statement": one.statement} for one in self.origins],
        }


def grade(
    version: PromptVersion, outputs: Sequence[Output], facts: Facts | None, rules: Mapping[str, PolicyRule]
) -> Evaluation:
    """Check the answers of a version.

    Raises:
        ValueError: if the facts or a rule that the version names are not given.
    """
    if (facts is None) != (version.report is None):
        raise ValueError(f"{version.name} narrates {version.report}, and facts {'lack' if facts is None else 'exist'}")
    applied = _rules_for(version, rules)
    checks: list[Check] = []
    claims: list[Claim] = []
    findings: list[PolicyFinding] = []
    for output in outputs:
        content, problems = _parsed(version, output.answer.text)
        checks.append(_check(SCHEMA, output, score=0.0 if problems else 1.0, problems=problems))
        if content is None:
            continue
        passages = [Passage(where=where, text=text) for where, text in _texts(content)]
        if facts is not None:
            made = [claim for one in passages for claim in check_numbers(one.text, facts, where=_at(output, one.where))]
            claims += made
            checks.append(_facts_check(version, output, made))
        broken = [
            finding
            for rule in applied
            for finding in rule.findings(
                [Passage(where=_at(output, one.where), text=readable(one.text)) for one in passages], output.locale
            )
        ]
        findings += broken
        checks.append(_policies_check(output, broken, len(applied)))
    return Evaluation(
        prompt_id=version.id,
        version=version.version,
        prompt_fingerprint=version.fingerprint,
        outputs_fingerprint=fingerprint(
            [[one.locale, one.case, one.answer.request_sha256, one.answer.text] for one in outputs]
        ),
        report_sha256=None if facts is None else facts.report_sha256,
        rules={rule.name: rule.fingerprint for rule in applied},
        expected=expected_checks(version),
        checks=tuple(checks),
        claims=tuple(claims),
        findings=tuple(findings),
        origins=tuple(dict.fromkeys(output.answer.origin for output in outputs)),
    )


def expected_checks(version: PromptVersion) -> frozenset[tuple[str, str, str]]:
    """Return (check, locale, case) for everything that has to be checked before a version passes."""
    names = EXPECTED_CHECKS if version.report is not None else EXPECTED_CHECKS - {FACTS}
    return frozenset(
        (name, locale, case.name) for name in names for locale in version.locales for case in version.cases
    )


def _rules_for(version: PromptVersion, rules: Mapping[str, PolicyRule]) -> list[PolicyRule]:
    if missing := [name for name in version.policies if name not in rules]:
        raise ValueError(f"{version.name} is bound to rules that were not given: {missing}")
    return [rules[name] for name in version.policies if rules[name].applies_to(version.audience)]


def _parsed(version: PromptVersion, text: str) -> tuple[Json, tuple[str, ...]]:
    """Return the answer's JSON, or None with the problems."""
    try:
        content = cast("Json", json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        return None, (f"the answer is not JSON: {error}",)
    # An empty registry: a `$ref` never leads to a download.
    validator = Draft202012Validator(cast("Mapping[str, Any]", version.output_schema), registry=Registry())
    problems = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(content)]
    return (None, tuple(problems[:_MAXIMUM_PROBLEMS])) if problems else (content, ())


def _without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _texts(content: Json, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text and every number of an answer with the JSON pointer to it."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _texts(value, f"{where}/{key}")
    elif isinstance(content, str):
        yield where, content
    elif isinstance(content, Sequence):
        for index, value in enumerate(content):
            yield from _texts(value, f"{where}/{index}")
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield where, repr(content)


def _at(output: Output, where: str) -> str:
    return f"{output.locale}/{output.case}{where}"


def _facts_check(version: PromptVersion, output: Output, claims: Sequence[Claim]) -> Check:
    supported = sum(claim.verdict is Verdict.SUPPORTED for claim in claims)
    score = supported / len(claims) if claims else 0.0
    least = version.thresholds.claims_per_answer
    problems = [
        f"{claim.where}: {claim.printed!r} is {claim.verdict}: {claim.reason}"
        for claim in claims
        if claim.verdict is not Verdict.SUPPORTED
    ]
    if len(claims) < least:
        problems.append(f"it makes {len(claims)} numeric claims; at least {least} are asked for")
    has_contradiction = any(claim.verdict is Verdict.CONTRADICTED for claim in claims)
    is_passed = not has_contradiction and score >= version.thresholds.supported_claims and len(claims) >= least
    return _check(FACTS, output, score=score, problems=problems, is_passed=is_passed)


def _policies_check(output: Output, findings: Sequence[PolicyFinding], rule_count: int) -> Check:
    broken = {finding.rule for finding in findings}
    return _check(
        POLICIES,
        output,
        score=1.0 - len(broken) / rule_count if rule_count else 1.0,
        problems=[f"{one.rule} ({one.citation}): {one.problem} at {one.where}" for one in findings],
        is_passed=not any(finding.severity is Severity.HIGH for finding in findings),
    )


def _check(name: str, output: Output, *, score: float, problems: Sequence[str], is_passed: bool | None = None) -> Check:
    return Check(
        name=name,
        locale=output.locale,
        case=output.case,
        score=score,
        is_passed=not problems if is_passed is None else is_passed,
        problems=tuple(problems[:_MAXIMUM_PROBLEMS]),
    )
