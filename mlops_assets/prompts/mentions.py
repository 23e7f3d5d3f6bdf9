"""Which metric and whose does a sentence speak of: the words for both, and the mention that a number belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

# Names are those of the report's KPIs. Longer expressions come first, so that "annualised return" is not "return".
_METRICS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("conditional_value_at_risk_95",),
        r"conditional value at risk|expected shortfall|cvar|조건부 ?위험가치|기대 ?손실",
    ),
    (("value_at_risk_95",), r"value at risk|(?<![A-Za-z])var(?![A-Za-z])|위험가치"),
    (("annualised_return",), r"annuali[sz]ed returns?|cagr|연환산 ?수익률|연율화 ?수익률|연평균 ?수익률"),
    (("total_return",), r"total returns?|cumulative returns?|총 ?수익률|누적 ?수익률"),
    (("maximum_drawdown",), r"(?:max(?:imum)? )?drawdowns?|mdd|(?:최대 ?)?낙폭"),
    (("sharpe_ratio",), r"sharpe(?: ratio)?|샤프(?: ?(?:비율|지수))?"),
    (("sortino_ratio",), r"sortino(?: ratio)?|소르티노(?: ?(?:비율|지수))?"),
    (("calmar_ratio",), r"calmar(?: ratio)?|칼마(?: ?(?:비율|지수))?"),
    (("information_ratio",), r"information ratio|정보 ?비율"),
    (("profit_factor",), r"profit factor|손익비|프로핏 ?팩터"),
    (("win_rate",), r"win rate|hit rate|승률"),
    (("volatility",), r"volatility|변동성"),
    (("turnover",), r"turnover|회전율"),
    (("exposure",), r"exposure|노출도|투자 ?비중"),
    (("trades",), r"number of trades|trade count|(?<![A-Za-z])trades(?![A-Za-z])|거래 ?(?:횟수|건수)"),
    (("alpha",), r"(?<![A-Za-z])alpha(?![A-Za-z])|알파"),
    (("beta",), r"(?<![A-Za-z])beta(?![A-Za-z])|베타"),
    (("total_return", "annualised_return"), r"(?<![A-Za-z])return(?:s|ed)?(?![A-Za-z])|수익률"),
)
_METRIC = re.compile("|".join(f"(?P<m{index}>{pattern})" for index, (_, pattern) in enumerate(_METRICS)), re.IGNORECASE)
# The level of a value at risk belongs to its name: "95% VaR", "VaR (95%)", "95% 신뢰수준".
_LEVEL = re.compile(
    r"\b9[059] ?%[- ](?=(?:conditional )?(?:value at risk|c?var\b|expected shortfall|confidence|위험가치|신뢰))"
    r"|(?<=var) ?\(?9[059] ?%\)?|(?<=at risk) ?\(9[059] ?%\)|(?<=위험가치) ?\(9[059] ?%\)"
    r"|s&p ?500\b|sp500\b",
    re.IGNORECASE,
)
_POINTS_AHEAD = re.compile(r"\s*(?:for|by|of|in)\s+(?:the\s+)?\Z", re.IGNORECASE)
_HANGUL = re.compile("[가-힣]")
_AHEAD_COSTS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """Words that name one of `names`."""

    names: tuple[str, ...]
    start: int
    end: int


def without_names(text: str) -> str:
    """Blank out numbers that are part of a name, such as the level of a value at risk, keeping every position."""
    return _LEVEL.sub(lambda match: " " * len(match[0]), text)


def metrics_in(sentence: str) -> list[Mention]:
    """Return the metrics that a sentence names, in order."""
    return [
        Mention(names=_METRICS[int((match.lastgroup or "m0")[1:])][0], start=match.start(), end=match.end())
        for match in _METRIC.finditer(sentence)
    ]


def entities_in(sentence: str, entities: Mapping[str, Sequence[str]]) -> list[Mention]:
    """Return whose numbers a sentence speaks of; `entities` maps a name to what else it is called."""
    found: list[Mention] = []
    for name, aliases in entities.items():
        words = sorted({name, name.replace("_", " "), name.replace("_", "-"), *aliases}, key=len, reverse=True)
        pattern = "|".join(re.escape(word) for word in words)
        found += [
            Mention(names=(name,), start=match.start(), end=match.end())
            for match in re.finditer(pattern, sentence, re.IGNORECASE)
        ]
    return sorted(found, key=lambda one: one.start)


def nearest(mentions: Iterable[Mention], sentence: str, *, start: int, end: int) -> Mention | None:
    """Return the mention that the number at `start:end` belongs to, or None if there is none.

    What stands before counts more in Korean, where the subject comes first; "12% for the index" points ahead.
    """
    is_korean = _HANGUL.search(sentence) is not None

    def distance(mention: Mention) -> float:
        if mention.end <= start:
            return float(start - mention.end)
        between = sentence[end : mention.start]
        if _POINTS_AHEAD.match(between):
            return 0.0
        return float(mention.start - end) * (_AHEAD_COSTS if is_korean else 1.0) + 0.5

    return min(mentions, key=distance, default=None)
