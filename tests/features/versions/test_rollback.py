"""Which version a view is computed by, and how an older one takes over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.rollback import ColumnsStillRead, effective_view, rollback, version_to_compute
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, InvalidDeclaration, NotFound
from tests.features.catalogues import PACE, Views

_AT = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass
class Pointers:
    """Keeps the active versions in memory; only a registered version can become active."""

    registered: dict[tuple[str, str], str] = field(default_factory=dict)
    active: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def register_release(self, view: str, version: str, release_fingerprint: str, *, actor: str) -> None:
        self.registered[view, version] = release_fingerprint

    def set_active(self, view: str, version: str, *, actor: str, reason: str) -> None:
        assert (view, version) in self.registered
        self.active[view] = version
        self.reasons.append(f"{actor}: {reason}")


@pytest.fixture
def views(tmp_path: Path) -> Views:
    """Pace 1.0.0, and 2.0.0 with one column less and one more."""
    made = Views(tmp_path / "catalog")
    made.declare("1.0.0")
    made.release()
    made.declare("2.0.0", {"fast": PACE["fast"], "slower": 'pl.col("adjusted_close").pct_change(9)'})
    made.release()
    return made


def roll_back(views: Views, to: str, pointers: Pointers, reason: str = "2.0.0 is wrong") -> FeatureView:
    catalogue = views.catalogue
    return rollback(
        catalogue.feature_views["pace"],
        to,
        releases=views.releases,
        active=pointers,
        readers=catalogue.readers("pace"),
        views=catalogue.feature_views,
        actor="ana",
        reason=reason,
    )


def test_a_rollback_computes_with_the_released_source_under_the_same_name(views: Views):
    pointers = Pointers()
    serving = roll_back(views, "1.0.0", pointers)
    assert (serving.name, serving.version, serving.column_names) == ("pace", "1.0.0", ("fast", "slow"))
    assert serving.dataset == "features/pace"
    assert serving.declared_in == views.releases.get("pace", "1.0.0").source
    assert pointers.active == {"pace": "1.0.0"}
    assert pointers.reasons == ["ana: 2.0.0 is wrong"]
    assert pointers.registered == {
        ("pace", version): views.releases.get("pace", version).fingerprint for version in ("1.0.0", "2.0.0")
    }


def test_a_version_that_is_not_released_can_not_take_over(views: Views):
    pointers = Pointers()
    with pytest.raises(NotFound, match=r"Released versions: 1\.0\.0, 2\.0\.0"):
        roll_back(views, "1.5.0", pointers)
    assert pointers == Pointers()


def test_a_version_that_lacks_a_column_somebody_reads_can_not_take_over(views: Views):
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.slower") + pl.col("pace.fast")'}, name="double")
    pointers = Pointers()
    with pytest.raises(ColumnsStillRead, match=r"pace 1\.0\.0 lacks slower \(read by view double\)"):
        roll_back(views, "1.0.0", pointers)
    assert pointers == Pointers()


def test_a_rollback_needs_a_reason(views: Views):
    with pytest.raises(Conflict, match="say why"):
        roll_back(views, "1.0.0", Pointers(), reason=" ")


def test_a_retired_major_version_does_not_take_over(views: Views):
    at = datetime(2026, 1, 5, 12, tzinfo=UTC)
    views.releases.retire("pace", 1, reason="slow is wrong", at=at, by="ana")
    pointers = Pointers()
    with pytest.raises(Conflict, match=r"pace 1\.x is retired since 2026-01-05.*: slow is wrong.*retired_v1\.json"):
        roll_back(views, "1.0.0", pointers)
    assert pointers == Pointers()


def test_nothing_goes_back_while_the_declared_version_is_a_draft(views: Views):
    views.declare("2.0.1", {"fast": PACE["fast"]})
    pointers = Pointers()
    with pytest.raises(Conflict, match=r"pace 2\.0\.1 in .*pace\.py is not released"):
        roll_back(views, "1.0.0", pointers)
    assert pointers == Pointers()


def test_a_changed_record_can_not_take_over(views: Views):
    source = views.releases.get("pace", "1.0.0").source
    source.write_text(source.read_text() + "#")
    pointers = Pointers()
    with pytest.raises(IntegrityViolation, match=r"view\.py"):
        roll_back(views, "1.0.0", pointers)
    assert pointers == Pointers()


def test_the_declared_version_is_computed_unless_another_is_active(views: Views):
    view = views.all["pace"]
    assert effective_view(view, None) is view
    assert effective_view(view, "2.0.0") is view
    assert effective_view(view, "1.0.0").version == "1.0.0"
    assert effective_view(views.all["pace_v1"], "2.0.0").version == "1.0.0"


@pytest.mark.parametrize(
    ("declared", "active", "registered", "computed"),
    [
        ("1.0.0", None, (), "1.0.0"),
        ("1.0.0", "1.0.0", ("1.0.0",), "1.0.0"),
        ("2.0.0", "1.0.0", ("1.0.0",), "2.0.0"),  # new: computed, so that it can be looked at and activated
        ("2.0.0", "1.0.0", ("1.0.0", "2.0.0"), "1.0.0"),  # rolled back
        ("2.0.1", "1.0.0", ("1.0.0", "2.0.0"), "2.0.1"),  # and mended
    ],
)
def test_which_version_is_computed(declared: str, active: str | None, registered: tuple[str, ...], computed: str):
    assert version_to_compute(declared, active, registered) == computed


def test_an_old_source_reads_what_it_was_released_with(tmp_path: Path):
    views = Views(tmp_path / "catalog")
    views.declare("1.0.0")
    views.release()
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.slow") - pl.col("pace.fast").shift(1)'}, name="double")
    views.release("double")
    views.declare("2.0.0", {"fast": PACE["fast"], "slower": PACE["slow"]})
    views.declare("2.0.0", {"twice": '2 * pl.col("pace.slower")'}, name="double")
    views.release()
    older = views.all["double_v1"]
    assert [str(one) for one in older.upstream] == ["pace_v1.fast", "pace_v1.slow"]
    assert not views.check("double_v1").is_refused
    views.releases.retire("pace", 1, reason="old", at=_AT, by="ana")
    with pytest.raises(InvalidDeclaration, match=r"pace 1\.x is no longer served.*mlops features retire double 1"):
        views.catalogue  # noqa: B018 - loading is the act
    views.releases.retire("double", 1, reason="old", at=_AT, by="ana")
    assert set(views.all) == {"pace", "double"}
