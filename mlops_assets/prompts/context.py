"""What a prompt is told of a report: rounded KPIs under the keys that its answer has to anchor its numbers to.

Rounded, so that the request does not change with the last bit of a float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

from mlops_assets.kernel.errors import UnknownReference
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.kernel.words import Locale
from mlops_assets.prompts.facts import DIFFERENCE, Facts, Kpi
from mlops_assets.prompts.render import Request, render
from mlops_assets.prompts.spec import Case, PromptVersion, Variable


class StoredReport(Protocol):
    """A published report, known by its hash."""

    @property
    def sha256(self) -> str: ...


class Reports(Protocol):
    """Where reports and their KPIs are kept."""

    def latest(self, name: str) -> StoredReport: ...

    def kpis(self, sha256: str, /) -> Mapping[str, Kpi]: ...

    def record(self, sha256: str, /) -> Mapping[str, Any]: ...


def latest_facts(version: PromptVersion, reports: Reports) -> Facts | None:
    """Return the facts of the latest report that the version narrates, or None where it narrates none."""
    return None if version.report is None else facts_of(version, reports, reports.latest(version.report).sha256)


def facts_of(version: PromptVersion, reports: Reports, sha256: str | None) -> Facts | None:
    """Return the facts of one report, or None where the version narrates none."""
    if version.report is None or sha256 is None:
        return None
    return Facts(
        report_sha256=sha256,
        kpis=reports.kpis(sha256),
        dates=_dates(version.report, reports.record(sha256)["scenario"]),
        aliases=version.aliases,
    )


def _dates(report: str, scenario: Mapping[str, Any]) -> dict[str, date]:
    """Return the first and the last day of the scenario and of its stress events (`covid_crash.rebound.end`)."""
    spans = {report: scenario["window"]}
    spans |= {f"{report}.{re.sub(r'[^a-z0-9]+', '_', one['label'].lower())}": one for one in scenario["stress_events"]}
    return {
        f"{name}.{edge}": date.fromisoformat(span[edge]) for name, span in spans.items() for edge in ("start", "end")
    }


def report_context(version: PromptVersion, facts: Facts) -> dict[str, Json]:
    """Return what the prompt is told of the report: the metrics it declares, for candidate and baseline.

    Differences are told too, because those of rounded numbers are not the rounded differences.

    Raises:
        UnknownReference: if the report lacks a declared metric.
    """
    pairs = [
        (f"{version.report}.{version.candidate}.{metric}", f"{version.report}.{version.baseline}.{metric}")
        for metric in sorted(version.metrics)
    ]
    for key in (key for pair in pairs for key in pair):
        if key not in facts.kpis:
            raise UnknownReference(
                kind="KPI", name=key, known=facts.kpis, asked_by=str(version.declared_in), field="metrics"
            )
    keys = [*(key for pair in pairs for key in pair), *map(DIFFERENCE.join, pairs)]
    return {
        "report": version.report,
        "strategy": version.candidate,
        "baseline": version.baseline,
        "data": {key: printed(key, facts) for key in [*facts.dates, *keys]},
    }


def printed(key: str, facts: Facts) -> str:
    """Print a stored date, KPI or difference of KPIs as the prompt shows it.

    Percent and percentage points have one decimal, ratios two, the rest none.
    """
    if key in facts.dates:
        return facts.dates[key].isoformat()
    kpis = [facts.kpis[one] for one in key.split(DIFFERENCE)]
    values = [Decimal(repr(kpi.value)) for kpi in kpis]
    value = values[0] if len(values) == 1 else values[0] - values[1]
    match kpis[0].unit:
        case "fraction":
            return f"{_without_negative_zero(value * 100, 1)}{'%' if len(values) == 1 else '%p'}"
        case "ratio":
            return _without_negative_zero(value, 2)
        case "USD":
            return f"{_without_negative_zero(value, 0)} USD"
        case _:
            return _without_negative_zero(value, 0)


def planned_requests(version: PromptVersion, facts: Facts | None) -> list[Request]:
    """Return a request for every case and locale of the version, always in the same order."""
    context = {} if facts is None else report_context(version, facts)

    def value_of(variable: Variable, case: Case, locale: Locale) -> Json:
        match variable.source:
            case "locale":
                return locale
            case "report":
                return context
            case "case":
                return case.values[variable.name]

    return [
        render(
            version,
            {variable.name: value_of(variable, case, locale) for variable in version.variables},
            locale=locale,
            case=case.name,
        )
        for case in version.cases
        for locale in version.locales
    ]


def _without_negative_zero(value: Decimal, places: int) -> str:
    text = f"{value:,.{places}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text
