"""A hand-made report and a hand-made prompt, small enough to check by eye."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from mlops_assets.prompts.facts import Facts
from mlops_assets.prompts.spec import PromptVersion


@dataclass(frozen=True)
class StoredKpi:
    value: float
    unit: str


KPIS: Mapping[str, StoredKpi] = {
    "crash.sma_crossover.total_return": StoredKpi(0.12345, "fraction"),
    "crash.sma_crossover.maximum_drawdown": StoredKpi(-0.2501, "fraction"),
    "crash.sma_crossover.sharpe_ratio": StoredKpi(0.874, "ratio"),
    "crash.sma_crossover.win_rate": StoredKpi(0.55, "fraction"),
    "crash.sma_crossover.trades": StoredKpi(123.0, "count"),
    "crash.sma_crossover.profit": StoredKpi(123_456_789.0, "USD"),
    "crash.buy_and_hold.total_return": StoredKpi(0.1567, "fraction"),
    "crash.buy_and_hold.maximum_drawdown": StoredKpi(-0.3321, "fraction"),
    "crash.buy_and_hold.sharpe_ratio": StoredKpi(0.661, "ratio"),
}

FACTS = Facts(
    report_sha256="a" * 64,
    kpis=KPIS,
    dates={"crash.start": date(2020, 1, 2), "crash.end": date(2020, 12, 31)},
    aliases={
        "sma_crossover": ["SMA crossover", "the strategy", "이동평균 교차 전략"],
        "buy_and_hold": ["buy and hold", "the baseline", "매수 후 보유"],
    },
)


@dataclass(frozen=True)
class Sealed:
    sha256: str = "a" * 64


@dataclass(frozen=True)
class Reports:
    """A report store with one report."""

    stored: Mapping[str, StoredKpi] = field(default_factory=lambda: KPIS)

    def latest(self, name: str) -> Sealed:
        assert name == "crash"
        return Sealed()

    def kpis(self, sha256: str, /) -> Mapping[str, StoredKpi]:
        assert sha256 == Sealed().sha256
        return self.stored

    def record(self, sha256: str, /) -> Mapping[str, Any]:
        assert sha256 == Sealed().sha256
        return {"scenario": {"window": {"start": "2020-01-02", "end": "2020-12-31"}, "stress_events": []}}


PROMPT = """---
id: narrator
version: 1.0.0
owner: team:quant
description: Tells what happened in a few words.
audience: professional
locales: [en, ko]
variables:
  - {name: language, type: choice, choices: [en, ko], description: The language., is_trusted: true, source: locale}
  - {name: question, type: text, maximum_length: 200, description: A question., is_trusted: false, source: case}
  - {name: facts, type: object, description: The KPIs., is_trusted: false, source: report}
cases:
  - {name: plain, values: {question: "What happened?"}}
report: crash
candidate: sma_crossover
baseline: buy_and_hold
metrics: [total_return, sharpe_ratio]
output:
  type: object
  additionalProperties: false
  required: [summary]
  properties: {summary: {type: string, minLength: 10}}
policies: [HYPO-01, PROM-01]
thresholds: {claims_per_answer: 1}
---
# System

Answer in {{ language }}.

# User

{{ question }}
<data>
{{ facts }}
</data>
"""

TRUE_EN = "In this hypothetical test the strategy returned [[crash.sma_crossover.total_return|12.3%]]."
TRUE_KO = "가상의 시험에서 총수익률은 [[crash.sma_crossover.total_return|12.3%]]였습니다."


def prompt(text: str = PROMPT, *, folder: Path = Path("prompts"), version: str = "1.0.0") -> PromptVersion:
    return PromptVersion.parse(
        text.replace("version: 1.0.0", f"version: {version}"), folder / "narrator" / f"{version}.md"
    )
