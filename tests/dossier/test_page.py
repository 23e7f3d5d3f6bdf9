"""What the first page says in both languages, and how names become paths."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.dossier.declared import Standing
from mlops_assets.dossier.index import STAGES
from mlops_assets.dossier.page import TEMPLATE, render
from mlops_assets.dossier.subject import SubjectKind
from mlops_assets.dossier.things import safe_path
from mlops_assets.dossier.words import WORDS, word
from mlops_assets.kernel.words import LOCALES, Locale, placeholders

PHRASE = re.compile(r'say\("([a-z_]+)"(?: ~ [a-z.]+)?')


def index(**changes: object) -> bytes:
    thing = {"id": "models/x@1", "fingerprint": "f" * 64, "made_at": "2026-01-05T12:00:00Z", "made_by": "ann"}
    said = {
        "format": "f",
        "subject": {
            "id": "models/x@1",
            "kind": "models",
            "name": "x",
            "version": "1",
            "description": "",
            "owner": "",
            "metrics": {},
            "things": [{**thing, "made_from": [], "code_version": None}],
        },
        "made_at": "2026-01-05T12:00:00Z",
        "made_by": "ann",
        "as_of": {"seq": 3, "hash": "0" * 64},
        "findings": [],
        "approvals": [],
        "timeline": [],
        "lineage": [],
        "declarations": [],
        "code": {"python": "3.11", "libraries": {}, "source_fingerprint": "e" * 64},
    }
    return json.dumps({**said, **changes}).encode()


def test_both_languages_have_the_same_placeholders():
    assert {key for key, one in WORDS.items() if placeholders(one.en) != placeholders(one.ko)} == set()
    assert {key for key, one in WORDS.items() if not re.search("[가-힣]", one.ko)} == set()


def test_every_phrase_of_the_page_exists_and_none_is_left_over():
    used = set(PHRASE.findall(TEMPLATE.read_text(encoding="utf-8")))
    composed = {key for key in used if key.endswith("_")}
    assert {"find_", "kind_", "stage_", "standing_"} == composed
    assert used - composed <= WORDS.keys()
    assert {key for key in WORDS if key not in used and not key.startswith(tuple(composed))} == set()
    families = {"kind": SubjectKind, "stage": STAGES, "standing": Standing}
    assert {f"{family}_{one}" for family, members in families.items() for one in members} <= WORDS.keys()


@pytest.mark.parametrize("locale", LOCALES)
def test_an_empty_dossier_says_so_in_the_reader_s_language(locale: Locale):
    page = render(index(), key_id="ab" * 8, locale=locale).decode()
    assert f'<html lang="{locale}">' in page
    assert word("no_approvals", locale=locale) in page
    assert f"ledger/public_keys/{'ab' * 8}.pem" in page


def test_evidence_of_a_damaged_row_does_not_break_the_page():
    row = {
        "id": "1",
        "subject": "s",
        "tier": 1,
        "quorum": 2,
        "required_role": None,
        "state": "revoked",
        "is_override": False,
        "closed_reason": "",
        "evidence": "damaged",
        "evidence_fingerprint": "a" * 64,
        "expires_at": None,
        "parties": [],
        "decisions": [],
        "overrides": [],
    }
    assert b"revoked" in render(index(approvals=[row]), key_id="k", locale="en")


@given(st.text(min_size=1, max_size=60))
def test_any_name_becomes_a_path_that_stays_inside(name: str):
    path = safe_path(name)
    assert re.fullmatch(r"[A-Za-z0-9._@/-]+", path)
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))


@given(st.lists(st.text(alphabet="aA/.<한 ", min_size=1, max_size=6), min_size=2, max_size=2, unique=True))
def test_different_names_become_different_paths(names: list[str]):
    first, second = names
    assert safe_path(first).casefold() != safe_path(second).casefold()
