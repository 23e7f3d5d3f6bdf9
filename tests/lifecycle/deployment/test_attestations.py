"""What people attest: once, bound to the version, never by those who made it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlops_assets.governance.approvals import DutiesNotApart, UnusableNote
from mlops_assets.kernel.errors import Conflict, Forbidden, UnknownReference
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.lifecycle.deployment.attestations import Attestation, Attestations
from mlops_assets.lifecycle.registry import ModelVersion
from tests.governance.worlds import ACCESS, NOW
from tests.lifecycle.deployment_worlds import Floor

ITEM = "independent_validation"


@pytest.fixture
def kept(floor: Floor) -> Attestations:
    return Attestations(floor.database, floor.ledger, floor.clock, access=ACCESS)


@pytest.fixture
def version(floor: Floor) -> ModelVersion:
    return floor.version(1)


def attest(kept: Attestations, version: ModelVersion, by: Principal, statement: str = "tried it") -> Attestation:
    return kept.attest(version, ITEM, by=by, statement=statement, makers={"mia"})


def test_a_word_is_kept_once_with_its_ledger_entry(floor: Floor, kept: Attestations, version: ModelVersion):
    made = attest(kept, version, replace(floor.ana, credential="token:1"))
    assert (made.principal, made.at, made.credential) == ("ana", NOW, "token:1")
    assert attest(kept, version, floor.ana, " tried it ") == made
    with pytest.raises(Conflict, match=r"ana attested independent_validation .* already: 'tried it'"):
        attest(kept, version, floor.ana, "something else")
    other = attest(kept, version, floor.quin)
    assert kept.of(version) == [made, other]
    (entry, _) = floor.ledger.entries(action="attestation.add")
    assert (entry.seq, entry.subject, entry.after, entry.reason) == (
        made.ledger_seq,
        "models/signal_classifier@1",
        version.fingerprint,
        "tried it",
    )
    assert floor.ledger.verify().is_intact


def test_it_is_of_exactly_that_version(floor: Floor, kept: Attestations, version: ModelVersion):
    attest(kept, version, floor.ana)
    assert kept.of(floor.version(2)) == []
    assert kept.of(replace(version, fingerprint="0" * 64)) == []


@pytest.mark.parametrize("name", ["mia", "dagster"])
def test_who_made_the_version_or_a_report_attests_nothing(kept: Attestations, version: ModelVersion, name: str):
    with pytest.raises(DutiesNotApart, match=f"{name} made models/signal_classifier@1 or a report on it"):
        attest(kept, version, Principal(name=name, roles=frozenset({Role.QUANT})))
    assert kept.of(version) == []


def test_only_people_with_a_role_for_it_attest(floor: Floor, kept: Attestations, version: ModelVersion):
    with pytest.raises(Forbidden, match=r"model\.attest"):
        attest(kept, version, floor.people.named("vera", Role.VIEWER))
    with pytest.raises(DutiesNotApart, match="only people attest"):
        attest(kept, version, replace(floor.ben, is_service=True))


def test_an_item_that_machines_show_is_not_attested(floor: Floor, kept: Attestations, version: ModelVersion):
    with pytest.raises(UnknownReference, match="no item that people attest is called 'limits_set'"):
        kept.attest(version, "limits_set", by=floor.ana, statement="fine", makers=())


def test_it_says_something(floor: Floor, kept: Attestations, version: ModelVersion):
    with pytest.raises(UnusableNote, match="Give a statement"):
        attest(kept, version, floor.ana, " ")
