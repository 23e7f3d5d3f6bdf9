"""Is a phrase denied where it stands: "no guarantee of profit", "원금을 보장하지 않습니다".

English denies before the phrase, within its clause, or with a verb right behind it; Korean denies behind it.
"""

from __future__ import annotations

import re

_CLAUSE_START = re.compile(r"[.;:!?\n]|,\s*(?:and|but|so|yet)\b|\b(?:but|however|yet|although|while|because)\b", re.I)
# "not only", "no doubt" and "without question" affirm.
_BEFORE = re.compile(
    r"\b(?:not(?!\s+(?:only|just|merely))|no(?!\s+(?:doubt|question|matter|wonder))|never|cannot|neither|nor|none"
    r"|nothing|without(?!\s+(?:a\s+)?(?:doubt|question|fail)))\b|n['’]t\b",
    re.I,
)
_WORDS_BEFORE = 7
_REACH = 200  # characters; no clause of interest is longer, and long texts stay linear
_AFTER = re.compile(
    r"^(?:\s+(?!that\b|which\b|who\b)\w+){0,3}?"
    r"\s+(?:(?:do|does|did|is|are|was|were|can|could|should|will|would)(?:\s+not|n['’]t)|cannot|never\s+exist)\b",
    re.I,
)
# A noun that carries a denial of its own ("원금보장, 손실 없는 상품") ends the reach of the phrase.
_AFTER_KO = re.compile(
    r"^(?:(?!손실|위험|리스크|걱정|변동|부담)[^.!?\n,·]){0,14}?"
    r"(?:지\s*(?:는|도)?\s*(?:않|못)|않|아니|아닌|아닙|없|안\s*(?:되|됩|됨)|금지|불가|어렵)"
)


def is_denied(text: str, start: int, end: int) -> bool:
    """Say whether the phrase `text[start:end]` is denied by the words around it."""
    before = text[max(0, start - _REACH) : start]
    clause = before[max((boundary.end() for boundary in _CLAUSE_START.finditer(before)), default=0) :]
    near = " ".join(clause.split()[-_WORDS_BEFORE:])
    if _BEFORE.search(near):
        return True
    after = text[end : end + _REACH]
    return bool(_AFTER.match(after) or _AFTER_KO.match(after))
