from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.catalog.feature_views.momentum import VIEW
from mlops_assets.features.quality import fold_overlaps
from mlops_assets.features.spec import Fold, Folds, TrainingSet
from mlops_assets.features.training_set import build_training_set
from mlops_assets.features.view import compute_view
from mlops_assets.kernel.errors import InvalidDeclaration
from tests.features.bars import sessions, walk

DAYS = sessions(300)
TRAIN_END, VALID_END = DAYS[149], DAYS[219]
CONTENT = {
    "name": "signal_daily",
    "owner": "team:quant",
    "description": "Daily rows.",
    "features": ["momentum.return_5d", "momentum.rsi_14"],
    "label": {"horizon_sessions": 5, "threshold": 0.01},
    "folds": {"train_until": TRAIN_END.isoformat(), "valid_until": VALID_END.isoformat(), "embargo_sessions": 10},
}
SPEC = TrainingSet.from_mapping(CONTENT, Path("models/m.yaml"))


def build(bars: pl.DataFrame, spec: TrainingSet = SPEC) -> pl.DataFrame:
    return build_training_set(spec, bars, {"momentum": (VIEW, compute_view(VIEW, bars))})


def test_every_bar_of_a_stock_has_a_row_with_the_views_values():
    bars = walk()
    rows = build(bars)
    expected = compute_view(VIEW, bars)
    assert rows.height == expected.height
    assert rows.select("symbol", "date", "return_5d", "rsi_14").equals(
        expected.select("symbol", "date", "return_5d", "rsi_14")
    )


def test_labels_by_hand():
    bars = walk(("AAA",))
    rows, price = build(bars), bars.filter(~pl.col("is_index"))["adjusted_close"]
    assert rows["forward_return"][10] == pytest.approx(price[15] / price[10] - 1)
    assert rows["label"][10] == int(price[15] / price[10] - 1 > 0.01)
    assert rows["label_known_at"][10] == rows["known_at"][15]


def test_labels_never_reach_into_another_symbol():
    rows = build(walk(("AAA", "BBB")))
    assert rows.group_by("symbol").agg(pl.col("label").null_count())["label"].to_list() == [5, 5]


def test_folds_by_hand():
    rows = build(walk(("AAA",)))
    folds = dict(zip(rows["date"].to_list(), rows["fold"].to_list(), strict=True))
    assert folds[DAYS[144]] == Fold.TRAIN  # its label is known on the last day of training
    assert folds[DAYS[145]] == Fold.PURGED  # its label reaches over the border
    assert folds[DAYS[159]] == Fold.PURGED  # last day of the embargo
    assert folds[DAYS[160]] == Fold.VALID
    assert folds[DAYS[214]] == Fold.VALID
    assert folds[DAYS[215]] == Fold.PURGED
    assert folds[DAYS[229]] == Fold.PURGED
    assert folds[DAYS[230]] == Fold.TEST
    assert folds[DAYS[294]] == Fold.TEST
    assert folds[DAYS[295]] == Fold.LIVE


def test_a_future_that_changes_moves_no_earlier_feature_or_known_label():
    bars = walk()
    changed = bars.with_columns(
        pl.when(pl.col("date") > DAYS[200])
        .then(pl.col("adjusted_close") * 3)
        .otherwise("adjusted_close")
        .alias("adjusted_close")
    )
    known = pl.col("date") <= DAYS[195]
    assert build(bars).filter(known).equals(build(changed).filter(known))


def test_touching_folds_are_found():
    rows = build(walk())
    assert fold_overlaps(rows) == []
    shuffled = rows.with_columns(fold=pl.col("fold").shuffle(seed=1))
    assert len(fold_overlaps(shuffled)) == 3


def test_no_embargo_still_purges():
    folds = Folds(train_until=TRAIN_END, valid_until=VALID_END, embargo_sessions=0)
    rows = build(walk(("AAA",)), replace(SPEC, folds=folds))
    assert rows.filter(pl.col("date") == DAYS[150])["fold"].item() == Fold.VALID
    assert fold_overlaps(rows) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": {"horizon_session": 5}}, r"field 'label.horizon_session'.*Did you mean 'horizon_sessions'"),
        ({"features": ["return_5d"]}, r"training_set.features.*view.column.*momentum.return_1d"),
        ({"features": ["a.x", "b.x"]}, "same short name"),
        ({"features": []}, "at least one column"),
        ({"folds": {**CONTENT["folds"], "train_until": "2030-01-01"}}, "train_until must be before valid_until"),
        ({"label": {"horizon_sessions": 0}}, "at least 1"),
        ({"name": "x"}, "3-100"),
    ],
)
def test_a_wrong_declaration_names_file_field_and_remedy(change: dict[str, object], message: str):
    with pytest.raises(InvalidDeclaration, match=message) as raised:
        TrainingSet.from_mapping({**CONTENT, **change}, Path("models/m.yaml"))
    assert str(raised.value).startswith("models/m.yaml: field")


def test_the_fingerprint_follows_the_meaning():
    other = replace(SPEC, folds=replace(SPEC.folds, train_until=date(2019, 3, 1)))
    assert other.fingerprint != SPEC.fingerprint
    assert replace(SPEC, declared_in=Path("elsewhere.yaml")).fingerprint == SPEC.fingerprint
