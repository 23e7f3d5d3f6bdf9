"""Is every number of a text true: each is resolved against the KPIs of one stored report.

A number with an anchor, `[[covid_crash.sma_crossover.total_return|12.3%]]`, names its KPI and is compared exactly. The
anchor may name a difference, `[[covid_crash.a.total_return - covid_crash.b.total_return|1.2%p]]`, and a date. A number
without an anchor is bound to the metric and the strategy named nearest to it. It is unsupported where its sentence
names no metric, or no strategy while several have that metric: it may equal a KPI by chance. Numbers in words
("doubled"), superlatives and trends are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import permutations
from typing import Literal, Protocol

from mlops_assets.kernel.errors import near_misses
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.prompts.mentions import Mention, entities_in, metrics_in, nearest, without_names
from mlops_assets.prompts.quantity import PrintedDate, PrintedUnit, Quantity, dates_in, quantities_in, without

_ANCHOR = re.compile(r"\[\[\s*(?P<key>[^\[\]|]{1,300}?)\s*\|\s*(?P<printed>[^\[\]|]{1,60}?)\s*\]\]")
_BROKEN_ANCHOR = re.compile(r"\[\[|\]\]")
_SENTENCE_END = re.compile(r"(?<=[.!?。])\s+|\n+")
DIFFERENCE = " - "
_LONGEST_SENTENCE = 2_000

# Printed unit → what one unit of it is in the unit of the stored KPI.
_SCALES: Mapping[str, Mapping[PrintedUnit, Decimal]] = {
    "fraction": {"percent": Decimal("0.01"), "basis_points": Decimal("0.0001"), "none": Decimal(1)},
    "ratio": {"none": Decimal(1), "times": Decimal(1)},
    "count": {"none": Decimal(1), "count": Decimal(1), "times": Decimal(1)},
    "USD": {"USD": Decimal(1)},
    "days": {"none": Decimal(1), "days": Decimal(1)},
}
_DIFFERENCE_SCALES: Mapping[str, Mapping[PrintedUnit, Decimal]] = {
    **_SCALES,
    "fraction": {"percent_points": Decimal("0.01"), "basis_points": Decimal("0.0001"), "none": Decimal(1)},
}
# Stored as negative numbers, and commonly spoken of by their size.
_LOSSES = frozenset({"maximum_drawdown", "value_at_risk_95", "conditional_value_at_risk_95"})
_DOWN_BEFORE = re.compile(
    r"\b(?:fell|fall|lost|loss(?:es)?|declined?|dropped|drop|down|decreased?|minus)\b[^.;,]{0,25}\Z", re.I
)
_DOWN_AFTER = re.compile(r"[^.,;\d]{0,12}?(?:하락|손실|감소|떨어|\bloss\b|\bdecline\b|\bdrop\b)", re.I)
_SLACK = Decimal("1e-9")


class Kpi(Protocol):
    """A stored KPI: a plain number in its natural unit (a fraction is a fraction, not a percentage)."""

    @property
    def value(self) -> float: ...

    @property
    def unit(self) -> str: ...


class Verdict(StrEnum):
    """What the stored facts say of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known: the KPIs of the report with this hash (`scenario.candidate.metric`), its dates, and names."""

    report_sha256: str
    kpis: Mapping[str, Kpi]
    dates: Mapping[str, date] = field(default_factory=dict[str, date])
    aliases: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    @property
    def entities(self) -> dict[str, Sequence[str]]:
        """Return every candidate with what else it is called."""
        names = dict.fromkeys(key.split(".")[1] for key in self.kpis if key.count(".") == 2)
        return {name: self.aliases.get(name, ()) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A printed number or date, what it was compared with, and the verdict. Positions are those in the passage."""

    where: str
    start: int
    end: int
    printed: str
    kind: Literal["anchored", "free"]
    verdict: Verdict
    reason: str
    key: str | None = None
    stored: float | str | None = None
    report_sha256: str

    def as_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"verdict": str(self.verdict)}


def check_numbers(text: str, facts: Facts, *, where: str = "") -> list[Claim]:
    """Return every numeric claim of a text with its verdict, in order."""
    anchored = [_anchored(match, facts, where) for match in _ANCHOR.finditer(text)]
    rest = _ANCHOR.sub(lambda match: " " * len(match[0]), text)
    broken = [
        _claim(
            match.span(), match[0], "anchored", facts, where, (Verdict.UNSUPPORTED, "the anchor is broken", None, None)
        )
        for match in _BROKEN_ANCHOR.finditer(rest)
    ]
    free = _free(without_names(rest), readable(text, keeps_positions=True), facts, where)
    return sorted([*anchored, *broken, *free], key=lambda claim: claim.start)


def readable(text: str, *, keeps_positions: bool = False) -> str:
    """Return the text as a reader sees it: every anchor replaced by what it prints."""
    if not keeps_positions:
        return _ANCHOR.sub(lambda match: match["printed"], text)
    return _ANCHOR.sub(lambda match: match["printed"].rjust(len(match[0])), text)


_Judgement = tuple[Verdict, str, str | None, float | str | None]


def _claim(
    span: tuple[int, int], printed: str, kind: Literal["anchored", "free"], facts: Facts, where: str, judged: _Judgement
) -> Claim:
    verdict, reason, key, stored = judged
    return Claim(
        where=where,
        start=span[0],
        end=span[1],
        printed=printed,
        kind=kind,
        verdict=verdict,
        reason=reason,
        key=key,
        stored=stored,
        report_sha256=facts.report_sha256,
    )


def _anchored(match: re.Match[str], facts: Facts, where: str) -> Claim:
    key, printed = " ".join(match["key"].split()), match["printed"]
    return _claim(match.span(), printed, "anchored", facts, where, _judge_anchor(key, printed, facts))


def _judge_anchor(key: str, printed: str, facts: Facts) -> _Judgement:
    if key in facts.dates:
        return _judge_date(key, printed, facts.dates[key])
    keys = key.split(DIFFERENCE)
    for one in keys:
        if one not in facts.kpis:
            near = near_misses(one, facts.kpis)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            return Verdict.UNSUPPORTED, f"the report has no KPI {one!r}{hint}", key, None
    if len(keys) > 2 or len({facts.kpis[one].unit for one in keys}) != 1:
        return Verdict.UNSUPPORTED, "an anchor names one KPI or a difference of two with the same unit", key, None
    quantity = _only_quantity(printed)
    if quantity is None:
        return Verdict.CONTRADICTED, f"{printed!r} is not one number", key, None
    stored = Decimal(repr(facts.kpis[keys[0]].value))
    if len(keys) == 2:
        stored -= Decimal(repr(facts.kpis[keys[1]].value))
    unit = facts.kpis[keys[0]].unit
    scales = (_DIFFERENCE_SCALES if len(keys) == 2 else _SCALES).get(unit, {})
    if quantity.unit not in scales:
        problem = f"the KPI is a {unit}, which is not printed in {quantity.unit}"
        return Verdict.CONTRADICTED, problem, key, float(stored)
    if _agrees(quantity, stored, scales[quantity.unit]):
        return Verdict.SUPPORTED, "it is the stored value as printed", key, float(stored)
    return Verdict.CONTRADICTED, f"the stored value is {float(stored):.6g}", key, float(stored)


def _judge_date(key: str, printed: str, stored: date) -> _Judgement:
    found = dates_in(printed)
    is_one = len(found) == 1 and (found[0].start, found[0].end) == (0, len(printed))
    if is_one and found[0].first <= stored <= found[0].last:
        return Verdict.SUPPORTED, "it is the stored date", key, stored.isoformat()
    return Verdict.CONTRADICTED, f"the stored date is {stored.isoformat()}", key, stored.isoformat()


def _only_quantity(printed: str) -> Quantity | None:
    found = list(quantities_in(printed))
    is_one = len(found) == 1 and not printed[: found[0].start].strip() and not printed[found[0].end :].strip()
    return found[0] if is_one else None


def _agrees(quantity: Quantity, stored: Decimal, scale: Decimal) -> bool:
    """Say whether the stored value, printed with as many digits, could read like this."""
    distance = abs(stored - quantity.value * scale)
    return distance <= quantity.half_unit * scale * (1 + _SLACK) + abs(stored) * _SLACK


def _free(text: str, context: str, facts: Facts, where: str) -> Iterator[Claim]:
    """Judge what is printed without an anchor. `context` shows the anchored numbers too, at the same positions."""
    for start, end in _sentences(text):
        sentence, shown = text[start:end], context[start:end]
        metrics, entities = metrics_in(shown), entities_in(shown, facts.entities)
        dates = dates_in(sentence)
        for printed in dates:
            span = (start + printed.start, start + printed.end)
            yield _claim(span, text[slice(*span)], "free", facts, where, _judge_free_date(printed, facts))
        named = [(one.start, one.end) for one in (*metrics, *entities)]
        for quantity in quantities_in(without(sentence, dates)):
            if any(low <= quantity.start and quantity.end <= high for low, high in named):
                continue
            span = (start + quantity.start, start + quantity.end)
            judged = _judge_free(quantity, shown, metrics, entities, facts)
            yield _claim(span, text[slice(*span)].strip(), "free", facts, where, judged)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for boundary in _SENTENCE_END.finditer(text):
        yield from _pieces(start, boundary.start())
        start = boundary.end()
    yield from _pieces(start, len(text))


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut what is too long for a sentence, so that time grows with the length of a text and not with its square."""
    for at in range(start, end, _LONGEST_SENTENCE):
        yield at, min(end, at + _LONGEST_SENTENCE)


def _judge_free_date(printed: PrintedDate, facts: Facts) -> _Judgement:
    """A day must be a stored date; a month or a year must touch the span of the stored dates."""
    if not facts.dates:
        return Verdict.UNSUPPORTED, "no dates are stored for this report", None, None
    first, last = min(facts.dates.values()), max(facts.dates.values())
    if printed.first == printed.last:
        key = next((key for key, stored in facts.dates.items() if stored == printed.first), None)
        if key is not None:
            return Verdict.SUPPORTED, "it is a stored date", key, printed.first.isoformat()
        return Verdict.UNSUPPORTED, "no stored date is this day", None, None
    if printed.first <= last and printed.last >= first:
        return Verdict.SUPPORTED, f"it lies in {first} to {last}", None, f"{first}/{last}"
    return Verdict.CONTRADICTED, f"the report covers {first} to {last}", None, f"{first}/{last}"


def _judge_free(
    quantity: Quantity, sentence: str, metrics: Sequence[Mention], entities: Sequence[Mention], facts: Facts
) -> _Judgement:
    metric = nearest(metrics, sentence, start=quantity.start, end=quantity.end)
    if metric is None:
        return Verdict.UNSUPPORTED, "it has no anchor and its sentence names no metric", None, None
    if quantity.unit == "percent_points":
        return _judge_free_difference(quantity, metric, entities, facts)
    entity = nearest(entities, sentence, start=quantity.start, end=quantity.end)
    bound = {
        key: kpi
        for key, kpi in facts.kpis.items()
        if _metric_of(key) in metric.names and (entity is None or _entity_of(key) in entity.names)
    }
    is_told_whose = entity is not None or len({_entity_of(key) for key in bound}) == 1
    signed = _signed(quantity, sentence)
    comparable = {key: kpi for key, kpi in bound.items() if signed.unit in _SCALES.get(kpi.unit, {})}
    for key, kpi in comparable.items():
        stored, scale = Decimal(repr(kpi.value)), _SCALES[kpi.unit][signed.unit]
        is_loss = _metric_of(key) in _LOSSES
        if _agrees(signed, stored, scale) or (is_loss and _agrees(quantity, -stored, scale)):
            if not is_told_whose:
                return (
                    Verdict.UNSUPPORTED,
                    f"it equals {key}, but its sentence does not say whose it is",
                    key,
                    kpi.value,
                )
            return Verdict.SUPPORTED, "it is the stored KPI that its sentence names", key, kpi.value
    if not bound:
        return Verdict.UNSUPPORTED, "it has no anchor and no stored KPI matches it", None, None
    key, kpi = next(iter((comparable or bound).items()))
    problem = f"{key} is {kpi.value:.6g} ({kpi.unit})"
    return Verdict.CONTRADICTED, problem, key, kpi.value


def _judge_free_difference(
    quantity: Quantity, metric: Mention, entities: Sequence[Mention], facts: Facts
) -> _Judgement:
    """Look for two candidates whose values of the metric differ by the printed percentage points, in either order.

    Where more than two have the metric, the sentence must name both.
    """
    fractions = {
        key: Decimal(repr(kpi.value))
        for key, kpi in facts.kpis.items()
        if kpi.unit == "fraction" and _metric_of(key) in metric.names
    }
    holders: dict[str, set[str]] = {}
    for key in fractions:
        holders.setdefault(_metric_of(key), set()).add(_entity_of(key))
    named = {name for one in entities for name in one.names}
    for key, other in permutations(fractions, 2):
        pair = {_entity_of(key), _entity_of(other)}
        is_told_whose = pair <= named or pair == holders[_metric_of(key)]
        if _metric_of(key) != _metric_of(other) or not is_told_whose:
            continue
        difference = fractions[key] - fractions[other]
        if _agrees(quantity, difference, Decimal("0.01")):
            return Verdict.SUPPORTED, "it matches a difference", f"{key}{DIFFERENCE}{other}", float(difference)
    return Verdict.UNSUPPORTED, "it has no anchor and no difference of stored KPIs matches it", None, None


def _entity_of(key: str) -> str:
    return key.split(".")[1]


def _metric_of(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def _signed(quantity: Quantity, sentence: str) -> Quantity:
    """Give a number printed without a sign the direction of the words around it: "fell 12%" is -12%."""
    if quantity.value < 0 or not (
        _DOWN_BEFORE.search(sentence[: quantity.start]) or _DOWN_AFTER.match(sentence[quantity.end :])
    ):
        return quantity
    return Quantity(
        value=-quantity.value,
        half_unit=quantity.half_unit,
        unit=quantity.unit,
        start=quantity.start,
        end=quantity.end,
    )
