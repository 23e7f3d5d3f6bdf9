from __future__ import annotations

import json

import pytest

from mlops_assets.kernel.clock import FixedClock
from mlops_assets.kernel.errors import NotFound
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.prompts.store import PromptStore
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.sql.database import Database
from tests.prompts.examples import PROMPT, TRUE_EN, prompt
from tests.prompts.test_grade import evaluated

ACTOR = Principal(name="an-operator", roles=frozenset({Role.MLOPS}))
FALSE_EN = TRUE_EN.replace("12.3%", "13.2%")


@pytest.fixture
def store(database: Database, ledger: Ledger, blobs: BlobStore, clock: FixedClock) -> PromptStore:
    return PromptStore(database, ledger, blobs, clock)


def test_an_evaluation_is_remembered_with_one_ledger_entry(store: PromptStore, ledger: Ledger, blobs: BlobStore):
    record = store.record(evaluated(TRUE_EN), actor=ACTOR)
    assert store.record(evaluated(TRUE_EN), actor=ACTOR) == record
    assert store.latest("narrator", "1.0.0") == record
    (entry,) = ledger.entries()
    assert (entry.action, entry.actor, entry.after) == ("prompt_evaluation.record", "an-operator", record.id)
    claims = json.loads(blobs.get(record.evaluation_sha256))["claims"]
    assert {claim["verdict"] for claim in claims} == {"supported"}


def test_the_latest_evaluation_counts_even_if_it_says_what_an_older_one_said(store: PromptStore):
    first = store.record(evaluated(TRUE_EN), actor=ACTOR)
    store.record(evaluated(FALSE_EN), actor=ACTOR)
    assert store.bundle([prompt()]) == []
    again = store.record(evaluated(TRUE_EN), actor=ACTOR)
    assert again.id != first.id
    assert [one.evaluation_id for one in store.bundle([prompt()])] == [again.id]
    assert [one.is_passed for one in store.evaluations("narrator")] == [True, False, True]


def test_only_what_passed_with_its_present_content_is_bundled(store: PromptStore):
    store.record(evaluated(TRUE_EN), actor=ACTOR)
    changed = prompt(PROMPT.replace("Answer in", "Reply in"))
    unknown = prompt(version="1.1.0")
    assert store.bundle([changed, unknown]) == []
    assert [one.prompt_fingerprint for one in store.bundle([prompt()])] == [prompt().fingerprint]


def test_what_was_never_evaluated_is_said_to_be_so(store: PromptStore):
    with pytest.raises(NotFound, match="prompt_evaluations/narrator"):
        store.latest("narrator", "1.0.0")
