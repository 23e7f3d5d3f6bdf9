"""Which version a change of a feature view demands."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.features.spec import Feature, FeatureView, Partition
from mlops_assets.features.versions.reference_sample import total
from mlops_assets.features.versions.schema_diff import (
    Bump,
    ColumnDescription,
    Golden,
    ViewDescription,
    demanded_bump,
    demanded_version,
    differences,
    expression_fingerprint,
)

DAYS = [date(2024, 1, 1) + timedelta(days=number) for number in range(6)]
VALUES = {
    "fast": [None, 1.0, 2.0, 1e-3, 4.0, 5.0],
    "slow": [None, None, 1.5, 2.5, 3.5, 4.5],
    "flag": [None, True, True, False, True, False],
}


@dataclass(frozen=True)
class State:
    """A view and its values on the sample, as a change makes them."""

    view: ViewDescription
    values: pl.DataFrame

    @property
    def golden(self) -> Golden:
        return Golden(rows=self.values, totals={name: total(self.values[name]) for name in self.view.column_names})

    def with_column(self, name: str, **changes: object) -> State:
        columns = tuple(replace(one, **changes) if one.name == name else one for one in self.view.columns)
        return replace(self, view=replace(self.view, columns=columns))

    def with_view(self, **changes: object) -> State:
        return replace(self, view=replace(self.view, **changes))

    def with_values(self, name: str, values: list[object]) -> State:
        return replace(self, values=self.values.with_columns(pl.Series(name, values, strict=False)))

    def without(self, name: str) -> State:
        columns = tuple(one for one in self.view.columns if one.name != name)
        return State(view=replace(self.view, columns=columns), values=self.values.drop(name, strict=False))

    def having(self, name: str, like: str, values: list[object]) -> State:
        (column,) = [one for one in released().view.columns if one.name == like]
        added = (*self.view.columns, replace(column, name=name))
        return State(view=replace(self.view, columns=added), values=self.values).with_values(name, values)


def declared(**changes: object) -> FeatureView:
    price = pl.col("adjusted_close")
    view = FeatureView(
        name="pace",
        version="1.2.3",
        owner="team:quant",
        description="How fast a stock moves.",
        warm_up_bars=2,
        columns=(
            Feature(name="fast", expr=price.diff(1), unit="USD", minimum=0.0, description="Fast.", formula="f"),
            Feature(name="slow", expr=price.diff(2), unit="USD", description="Slow."),
            Feature(name="flag", expr=price.diff() > 0, type="boolean", description="Rises."),
        ),
        tags=("a",),
        declared_in=Path(__file__),
    )
    return replace(view, **changes)


def described(view: FeatureView) -> ViewDescription:
    return ViewDescription.of(view, {}, "0" * 64)


def released() -> State:
    rows = pl.DataFrame({"symbol": "AAA", "date": DAYS, **VALUES})
    return State(view=described(declared()), values=rows)


def found(state: State) -> list[str]:
    before = released()
    return [str(one) for one in differences(before.view, state.view, before.golden, state.golden)]


def bump(state: State) -> Bump:
    before = released()
    return demanded_bump(differences(before.view, state.view, before.golden, state.golden))


def nudged(factor: float) -> list[object]:
    return [None if value is None else value * factor for value in VALUES["fast"]]


MAJOR: dict[str, tuple[Callable[[State], State], str]] = {
    "removed": (lambda s: s.without("slow"), "column slow: removed"),
    "renamed": (
        lambda s: s.without("slow").having("sluggish", "slow", VALUES["slow"]),
        "column slow: renamed to sluggish",
    ),
    "retyped": (lambda s: s.with_column("fast", type="integer"), "column fast: retyped from float to integer"),
    "unit": (lambda s: s.with_column("fast", unit="percent"), "column fast: unit changed from USD to percent"),
    "nullable": (lambda s: s.with_column("fast", is_nullable=True), "column fast: may be empty now"),
    "moved": (
        lambda s: s.with_values("fast", nudged(1 + 3e-9)),
        "column fast: 4 of 6 reference values moved",
    ),  # .001 is rounding
    "appeared": (
        lambda s: s.with_values("slow", [None, 0.5, *VALUES["slow"][2:]]),
        "column slow: 1 of 6 reference values moved, first AAA on 2024-01-02: null was, 0.5 is",
    ),
    "turned": (lambda s: s.with_values("flag", [None, True, True, True, True, False]), "column flag: 1 of 6"),
    "ttl": (lambda s: s.with_view(ttl_seconds=60), "TTL changed from 604800 s to 60 s"),
    "keys": (lambda s: s.with_view(keys=("isin:string", "date:date")), "keys changed"),
    "upstream": (lambda s: s.with_view(upstream={"base": "3.0.0"}), "it reads base 3.x, and was released on base 2.x"),
}
MINOR: dict[str, tuple[Callable[[State], State], str]] = {
    "added": (lambda s: s.having("other", "slow", [1.0] * 6), "column other: added"),
    "wider": (lambda s: s.with_column("fast", minimum=-9.0), "range changed from [0.0, inf] to [-9.0, inf]"),
    "narrower": (lambda s: s.with_column("fast", maximum=9.0), "range changed from [0.0, inf] to [0.0, 9.0]"),
    "never null": (lambda s: s.with_column("slow", is_nullable=False), "is never empty any more"),
}
PATCH: dict[str, tuple[Callable[[State], State], str]] = {
    "owner": (lambda s: s.with_view(owner="team:risk"), "owner changed from team:quant to team:risk"),
    "tags": (lambda s: s.with_view(tags=()), "tags changed from a to none"),
    "words": (lambda s: s.with_view(description="Speed."), "its description changed"),
    "column words": (lambda s: s.with_column("fast", description="Quick."), "the text of its description changed"),
    "formula": (lambda s: s.with_column("fast", formula="g"), "the text of its formula changed"),
    "refactored": (lambda s: s.with_column("fast", expression="e"), "another expression with equal values"),
    "inputs": (lambda s: s.with_column("fast", inputs=("close",)), "reads close instead of adjusted_close"),
    "partition": (lambda s: s.with_view(partition="date"), "computed over changed from symbol to date"),
    "order": (lambda s: s.with_view(columns=s.view.columns[::-1]), "the order of its columns changed"),
    "file": (lambda s: s.with_view(source="1" * 64), "the file changed, no value did"),
    "rounding": (
        lambda s: s.with_view(source="1" * 64).with_values("fast", nudged(1 + 5e-10)),
        "the file changed, no value did",
    ),
}


@pytest.mark.parametrize("name", MAJOR)
def test_what_breaks_a_reader_demands_a_major_version(name: str):
    change, words = MAJOR[name]
    before = released().with_view(upstream={"base": "2.1.0"}).with_column("fast", is_nullable=False)
    after = change(before)
    listed = differences(before.view, after.view, before.golden, after.golden)
    assert demanded_bump(listed) is Bump.MAJOR
    assert any(str(one).startswith("major: ") and words in str(one) for one in listed)
    assert demanded_version("1.2.3", Bump.MAJOR) == "2.0.0"


@pytest.mark.parametrize("name", MINOR)
def test_what_adds_a_promise_demands_a_minor_version(name: str):
    change, words = MINOR[name]
    after = change(released())
    assert bump(after) is Bump.MINOR
    assert [words in one for one in found(after)] == [True]
    assert demanded_version("1.2.3", Bump.MINOR) == "1.3.0"


@pytest.mark.parametrize("name", PATCH)
def test_what_no_reader_sees_demands_a_patch(name: str):
    change, words = PATCH[name]
    after = change(released())
    assert bump(after) is Bump.PATCH
    assert [words in one for one in found(after)] == [True]
    assert demanded_version("1.2.3", Bump.PATCH) == "1.2.4"


def test_nothing_changed_demands_nothing():
    assert found(released()) == []
    assert demanded_version("1.2.3", bump(released())) == "1.2.3"


def test_an_expression_written_by_another_polars_is_not_compared():
    upgraded = released().with_view(engine="polars 9.0.0").with_column("fast", expression="as polars 9 writes it")
    assert found(upgraded) == []


def test_an_upstream_minor_version_changes_nothing_below():
    before = released().with_view(upstream={"base": "2.1.0"})
    after = before.with_view(upstream={"base": "2.2.0"})
    assert differences(before.view, after.view, before.golden, after.golden) == []


def test_reading_the_pinned_older_major_is_the_same_promise():
    before = released().with_view(upstream={"base": "2.1.0"})
    after = before.with_view(upstream={"base_v2": "2.1.0"})
    assert differences(before.view, after.view, before.golden, after.golden) == []


def test_a_column_of_nulls_is_not_taken_for_a_renamed_one():
    before = released().with_values("slow", [None] * 6)
    after = before.without("slow").having("other", "slow", [None] * 6)
    listed = differences(before.view, after.view, before.golden, after.golden)
    assert [str(one) for one in listed] == ["major: column slow: removed", "minor: column other: added"]


def test_the_window_is_part_of_an_expressions_identity():
    price = pl.col("adjusted_close")
    fingerprints = {expression_fingerprint(price.rolling_mean(window)) for window in (5, 5, 10)}
    assert len(fingerprints) == 2


def test_a_python_functions_pickle_is_not_part_of_an_expressions_identity():
    made = [pl.col("close").map_batches(one, return_dtype=pl.Float64) for one in (lambda s: s, lambda s: s * 2)]
    assert len({expression_fingerprint(one) for one in made}) == 1


def test_a_value_that_moves_on_a_row_outside_the_kept_ones_shows_in_the_totals():
    before, after = released(), released().with_values("fast", [None, 1.0, 2.0, 1e-3, 4.0001, 5.0])
    kept = Golden(rows=before.values.head(3), totals=before.golden.totals)
    (one,) = differences(before.view, after.view, kept, after.golden)
    assert (one.bump, one.column) == (Bump.MAJOR, "fast")
    assert "keeps in total only" in one.what


def test_values_that_change_places_show_in_the_totals():
    swapped = total(pl.Series([1.0, 2.0, 4.0])), total(pl.Series([2.0, 1.0, 4.0]))
    assert swapped[0].weighted_sum != swapped[1].weighted_sum
    # weights 1, 98/97, 99/97 by hand
    assert math.isclose(swapped[0].weighted_sum, 1.0 + 2 * 98 / 97 + 4 * 99 / 97, rel_tol=1e-15)


CHANGES = {**MAJOR, **MINOR, **PATCH}


@given(names=st.lists(st.sampled_from(sorted(CHANGES)), unique=True, max_size=5), kept=st.data())
def test_more_changes_never_demand_less(names: list[str], kept: st.DataObject):
    fewer = [name for name in names if kept.draw(st.booleans(), label=name)]
    before = released().with_view(upstream={"base": "2.1.0"}).with_column("fast", is_nullable=False)

    def demanded(chosen: list[str]) -> Bump:
        state = before
        for name in sorted(chosen, key=lambda one: (one in ("removed", "renamed"), one)):
            state = CHANGES[name][0](state)
        return demanded_bump(differences(before.view, state.view, before.golden, state.golden))

    assert demanded(names) >= demanded(fewer)
    assert demanded(names) >= max((demanded([name]) for name in names), default=Bump.NONE)


def test_a_view_describes_itself_with_its_grain_and_its_inputs():
    described_view = described(declared(partition=Partition.DATE))
    assert (described_view.partition, described_view.ttl_seconds) == ("date", 7 * 86_400)
    assert described_view.columns[0] == ColumnDescription(
        name="fast",
        type="float",
        unit="USD",
        minimum=0.0,
        maximum=None,
        formula="f",
        is_nullable=True,
        description="Fast.",
        inputs=("adjusted_close",),
        expression=expression_fingerprint(pl.col("adjusted_close").diff(1)),
    )
