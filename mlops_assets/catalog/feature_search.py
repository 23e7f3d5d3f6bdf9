"""Which views and columns a few words are about, in English or Korean: token matching, ranked, with near misses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.kernel.errors import near_misses

_TOKEN = re.compile(r"[a-z0-9]+|[가-힣]+")

KOREAN: Mapping[str, tuple[str, ...]] = {
    "가격": ("price",),
    "가치": ("value",),
    "거래량": ("volume",),
    "계절": ("seasonality", "month"),
    "고점": ("high", "drawdown"),
    "국면": ("regime",),
    "규모": ("size",),
    "낙폭": ("drawdown",),
    "모멘텀": ("momentum",),
    "밴드": ("bollinger", "band"),
    "베타": ("beta",),
    "변동성": ("volatility",),
    "볼린저": ("bollinger",),
    "상관": ("correlation",),
    "상대강도": ("rsi", "strength"),
    "수익률": ("return",),
    "순위": ("rank",),
    "시장": ("market",),
    "요인": ("factor", "exposure"),
    "위험": ("volatility", "risk"),
    "이동평균": ("average", "sma", "ema"),
    "지수": ("index",),
    "추세": ("trend",),
    "팩터": ("factor", "exposure"),
    "평균": ("average", "mean"),
    "품질": ("quality",),
}
"""What a Korean word means in the catalogue's English."""

_WEIGHTS: Mapping[str, float] = {
    "name": 5,
    "tags": 3,
    "description": 2,
    "formula": 1,
    "unit": 1,
    "owner": 2,
    "view": 0.5,
}
_SHORT_NAME, _WHOLE_NAME = 8.0, 20.0
_PREFIX_SHARE = 0.5
_SHORTEST_PREFIX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A view (`momentum`) or a column (`momentum.rsi_14`) that the words are about, and where they were found."""

    name: str
    description: str
    owner: str
    unit: str
    score: float
    matched: tuple[str, ...]
    found_in: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The hits, best first; `near` are known words that look like those which were not found."""

    hits: tuple[Hit, ...]
    near: tuple[str, ...]


def search(words: str, views: Iterable[FeatureView]) -> Found:
    """Return views and columns by how many of the words they are about, and how prominently.

    A word counts where it is a whole token or the beginning of one; Korean words by what they mean in English, with
    their particles.
    """
    documents = [document for view in views for document in _documents(view)]
    asked = [_meanings(token) for token in _tokens(words)]
    hits = [hit for document in documents if (hit := _hit(document, asked, words.strip().lower())) is not None]
    hits.sort(key=lambda hit: (-len(hit.matched), -hit.score, hit.name))
    vocabulary = {token for document in documents for field in document.fields.values() for token in field}
    matched = {word for hit in hits for word in hit.matched}
    missed = [meanings for meanings in asked if meanings[0] not in matched]
    near = [known for meanings in missed for meaning in meanings for known in near_misses(meaning, vocabulary)]
    return Found(hits=tuple(hits), near=tuple(dict.fromkeys(near)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    name: str
    short_name: str
    description: str
    owner: str
    unit: str
    fields: Mapping[str, frozenset[str]]


def _documents(view: FeatureView) -> Iterator[_Document]:
    yield _Document(
        name=view.name,
        short_name=view.name,
        description=view.description,
        owner=view.owner,
        unit="",
        fields={
            "name": frozenset(_tokens(view.name)),
            "tags": frozenset(token for tag in view.tags for token in _tokens(tag)),
            "description": frozenset(_tokens(view.description)),
            "owner": frozenset(_tokens(view.owner)),
        },
    )
    yield from (_column(view, column) for column in view.columns)


def _column(view: FeatureView, column: Feature) -> _Document:
    return _Document(
        name=f"{view.name}.{column.name}",
        short_name=column.name,
        description=column.description,
        owner=view.owner,
        unit=column.unit,
        fields={
            "name": frozenset(_tokens(column.name)),
            "description": frozenset(_tokens(column.description)),
            "formula": frozenset(_tokens(column.formula)),
            "unit": frozenset(_tokens(column.unit)),
            "view": frozenset(token for word in (view.name, *view.tags) for token in _tokens(word)),
        },
    )


def _hit(document: _Document, asked: Sequence[tuple[str, ...]], words: str) -> Hit | None:
    score, matched, places = 0.0, list[str](), list[str]()
    for meanings in asked:
        found = {
            field: max(_match(meaning, tokens) for meaning in meanings) for field, tokens in document.fields.items()
        }
        gained = {field: share * _WEIGHTS[field] for field, share in found.items() if share}
        if gained:
            score += sum(gained.values())
            matched.append(meanings[0])
            places += gained
    if not matched:
        return None
    return Hit(
        name=document.name,
        description=document.description,
        owner=document.owner,
        unit=document.unit,
        score=score + {document.short_name: _SHORT_NAME, document.name: _WHOLE_NAME}.get(words, 0.0),
        matched=tuple(matched),
        found_in=tuple(dict.fromkeys(places)),
    )


def _match(word: str, tokens: frozenset[str]) -> float:
    """Return 1 for a whole token, less for the beginning of one, 0 for neither."""
    if word in tokens:
        return 1.0
    is_beginning = len(word) >= _SHORTEST_PREFIX and any(token.startswith(word) for token in tokens)
    is_plural = word.endswith("s") and word[:-1] in tokens
    return _PREFIX_SHARE if is_beginning or is_plural else 0.0


def _meanings(token: str) -> tuple[str, ...]:
    """Return a word and what it means in English; a Korean word is known by what it begins with or holds."""
    known = [korean for korean in KOREAN if korean in token]
    longest = sorted(known, key=len, reverse=True)[:1]
    return (token, *(meaning for korean in longest for meaning in KOREAN[korean]))


def _tokens(text: str) -> list[str]:
    """Split into lower-case words; `rsi_14` is `rsi` and `14`."""
    return _TOKEN.findall(text.lower())
