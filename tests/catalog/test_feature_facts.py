"""What stands beside a view's status: a published snapshot may be worse than the one it was activated with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.catalog.feature_facts import BEHIND, CURRENT, PublishedFacts, published_facts, to_mind
from mlops_assets.features.activation import RecordedCertificate
from mlops_assets.features.spec import Feature, FeatureView
from mlops_assets.features.view_status import ViewState, ViewStatus

VIEW = FeatureView(
    name="tempo",
    version="1.1.0",
    owner="team:quant",
    description="For a test.",
    warm_up_bars=1,
    columns=(Feature(name="share", expr=pl.col("close"), minimum=0.0, maximum=1.0, description="Bounded."),),
    declared_in=Path(__file__),
)
SCHEMA = {
    "symbol": "string",
    "date": "date32[day]",
    "event_at": "timestamp[us, tz=UTC]",
    "known_at": "timestamp[us, tz=UTC]",
    "share": "double",
}
FACTS = PublishedFacts(
    snapshot=1,
    fingerprint="1" * 64,
    view_version="1.1.0",
    rows=10,
    unavailable={},
    statistics={"share": {"min": 0.0, "max": 1.0}},
    schema=SCHEMA,
    freshness=CURRENT,
)
CLEAN = RecordedCertificate(
    view="tempo",
    version="1.1.0",
    snapshot_fingerprint="1" * 64,
    bars_fingerprint="2" * 64,
    cuts=("2026-01-02",),
    rows_compared=10,
    peeks=(),
    is_clean=True,
    fingerprint="3" * 64,
    issued_at=datetime(2026, 1, 5, tzinfo=UTC),
    issued_by="dagster",
)
ACTIVE = ViewState(view="tempo", status=ViewStatus.ACTIVE, active_version="1.1.0")


def said(
    state: ViewState = ACTIVE,
    facts: PublishedFacts = FACTS,
    certificate: RecordedCertificate | None = CLEAN,
    readers: tuple[str, ...] = (),
) -> list[str]:
    return to_mind(VIEW, state, facts, certificate=certificate, readers=readers)


def test_of_a_view_that_is_as_it_was_activated_there_is_nothing_to_mind():
    assert said() == []
    assert said(readers=("model a",)) == []


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(FACTS, view_version="1.0.0"), "1.0.0 is published, 1.1.0 is declared"),
        (replace(FACTS, statistics={"share": {"min": -0.5, "max": 1.0}}), "share goes from -0.5 to 1, declared 0 to 1"),
        (replace(FACTS, schema={**SCHEMA, "share": "int64"}), "share is int64, declared float"),
        (replace(FACTS, freshness=BEHIND), BEHIND),
        (
            replace(FACTS, unavailable={"share": ("high", "low")}),
            "null, for the source has no high, low: share",
        ),
    ],
)
def test_a_snapshot_that_is_not_what_was_activated_is_said(facts: PublishedFacts, expected: str):
    assert expected in said(facts=facts)


def test_the_figures_of_a_snapshot_are_rounded_and_so_is_the_comparison():
    assert said(facts=replace(FACTS, statistics={"share": {"min": 0.0, "max": 1.0 + 1e-11}})) == []


def test_a_certificate_that_is_missing_or_not_clean_is_said():
    assert said(certificate=None) == ["no look-ahead certificate of what is published"]
    peeking = replace(CLEAN, is_clean=False, peeks=("share moved",))
    assert said(certificate=peeking) == ["uses later values: 1 peeks on its look-ahead certificate"]


def test_a_draft_published_beside_the_active_version_is_said():
    assert said(replace(ACTIVE, active_version="1.0.0")) == ["1.1.0 is published, 1.0.0 is active"]


def test_who_still_reads_a_deprecated_view_is_said():
    deprecated = replace(ACTIVE, status=ViewStatus.DEPRECATED, successor="haste")
    assert said(deprecated, readers=("model a", "view b")) == ["deprecated, use haste; read by model a, view b"]
    assert said(deprecated) == ["deprecated, use haste; read by nothing"]
    archived = replace(ACTIVE, status=ViewStatus.ARCHIVED)
    assert said(archived) == ["archived; remove its file to stop computing it"]
    assert said(archived, readers=("model a",)) == ["archived; read by model a"]


def test_what_is_not_published_has_its_status_alone():
    assert said(ViewState(view="tempo"), published_facts(None, None), None) == ["not published"]
