"""What a release keeps, and that nobody changes it afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlops_assets.features.versions.reference_sample import golden, kept_rows, reference_bars
from mlops_assets.features.versions.releases import RECORD, SAMPLE, SOURCE, VALUES
from mlops_assets.features.versions.version_check import Standing, VersionRefused, compare_releases
from mlops_assets.kernel.errors import Conflict, IntegrityViolation, NotFound
from mlops_assets.kernel.fingerprint import file_sha256
from tests.features.catalogues import PACE, Views

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SUM = 'pl.col("adjusted_close").pct_change(1) + pl.col("adjusted_close").pct_change(5)'


@pytest.fixture
def views(tmp_path: Path) -> Views:
    return Views(tmp_path / "catalog")


@pytest.fixture
def released(views: Views) -> Views:
    """Three releases: 1.0.0, 1.0.1 with another owner, 1.1.0 with a column more."""
    views.declare("1.0.0")
    views.release()
    views.declare("1.0.1", owner="team:bob")
    views.release()
    views.declare("1.1.0", {**PACE, "both": SUM}, owner="team:bob")
    views.release()
    return views


def test_a_release_keeps_the_source_the_promise_and_the_values(views: Views):
    file = views.declare("1.0.0")
    release = views.release()
    assert release.source.read_bytes() == file.read_bytes()
    record = json.loads((release.folder / RECORD).read_text())
    assert (record["view"], record["version"], record["owner"]) == ("pace", "1.0.0", "team:ana")
    assert [one["name"] for one in record["columns"]] == ["fast", "slow"]
    assert record["columns"][0]["inputs"] == ["adjusted_close"]
    assert record["files"] == {name: file_sha256(release.folder / name) for name in (SOURCE, VALUES)}
    prices = {row["date"]: row["adjusted_close"] for row in views.releases.bars.filter(symbol="REFA").to_dicts()}
    days = sorted(prices)
    kept = {row["date"]: row["fast"] for row in release.golden().rows.filter(symbol="REFA").to_dicts()}
    expected = {now: prices[now] / prices[before] - 1 for before, now in pairwise(days)}
    assert all(kept[day] == pytest.approx(expected[day], rel=1e-12) for day in kept.keys() & expected.keys())
    assert len(kept) > 100


def test_the_same_declaration_makes_the_same_record_anywhere(views: Views, tmp_path: Path):
    records = []
    for name in ("here", "there"):
        other = Views(tmp_path / name)
        other.declare("1.0.0")
        folder = other.release().folder
        records.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert records[0] == records[1]


def test_a_released_version_is_not_written_again(released: Views):
    with pytest.raises(Conflict, match=r"pace 1\.1\.0 is released already"):
        released.release()


def test_releases_are_a_chain(released: Views):
    history = released.releases.verify("pace")
    assert [one.version for one in history] == ["1.0.0", "1.0.1", "1.1.0"]
    assert [one.previous for one in history] == [None, *(one.fingerprint for one in history[:-1])]


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def consistent_forgery(folder: Path) -> None:
    """Change the middle record with its own fingerprint recomputed, as somebody careful would."""
    from mlops_assets.features.versions import releases as module

    release = module._parsed({**json.loads((folder / RECORD).read_text()), "owner": "team:eve"}, folder)
    (folder / RECORD).write_text(module._written(release), encoding="utf-8")


TAMPERINGS = {
    "the record": (lambda f: rewrite(f / "1.0.1" / RECORD, '"team:bob"', '"team:eve"'), "1.0.1/release.json"),
    "its layout": (lambda f: rewrite(f / "1.0.1" / RECORD, "  ", " "), "1.0.1/release.json"),
    "no JSON": (lambda f: (f / "1.0.1" / RECORD).write_text("{"), "1.0.1/release.json"),
    "the source": (lambda f: rewrite(f / "1.0.0" / SOURCE, "pct_change(1)", "pct_change(2)"), "1.0.0/view.py"),
    "the values": (lambda f: (f / "1.1.0" / VALUES).write_bytes(b"PAR1"), "1.1.0/values.parquet"),
    "no values": (lambda f: (f / "1.1.0" / VALUES).unlink(), "1.1.0/values.parquet"),
    "one file more": (lambda f: (f / "1.0.0" / "notes.txt").write_text("x"), "1.0.0/notes.txt"),
    "the sample": (lambda f: (f.parent / SAMPLE).write_bytes(b"PAR1"), SAMPLE),
    "the past, carefully": (lambda f: consistent_forgery(f / "1.0.1"), "1.1.0/release.json"),
    "a version gone": (lambda f: (f / "1.0.1").rename(f.parent / "gone"), "1.1.0/release.json"),
    "another version's record": (
        lambda f: (f / "1.0.1" / RECORD).write_bytes((f / "1.0.0" / RECORD).read_bytes()),
        "1.0.1/release.json",
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_with_a_released_record_is_refused_with_the_file_named(released: Views, what: str):
    tamper, named = TAMPERINGS[what]
    tamper(released.releases.folder / "pace")
    with pytest.raises(IntegrityViolation) as raised:
        released.releases.verify("pace")
    assert named in raised.value.what
    verdict = released.check()
    assert verdict.standing is Standing.REFUSED
    assert named in verdict.message


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Views:
    views = Views(tmp_path_factory.mktemp("kept"))
    for version in ("1.0.0", "1.0.1"):
        views.declare(version)
        views.release()
    return views


@given(place=st.integers(min_value=0), added=st.integers(min_value=1, max_value=255))
def test_any_changed_byte_of_any_released_file_shows(kept: Views, place: int, added: int):
    files = sorted(path for path in kept.releases.folder.rglob("*") if path.is_file())
    assert len(files) == 7
    file = files[place % len(files)]
    content = bytearray(file.read_bytes())
    position = (place // len(files)) % len(content)
    whole = bytes(content)
    content[position] = (content[position] + added) % 256
    try:
        file.write_bytes(content)
        with pytest.raises(IntegrityViolation):
            kept.releases.verify("pace")
    finally:
        file.write_bytes(whole)
    assert len(kept.releases.verify("pace")) == 2


def test_a_declaration_that_is_released_must_be_the_released_one(released: Views):
    assert released.check().standing is Standing.RELEASED
    file = released.folder / "feature_views" / "pace.py"
    file.write_text(file.read_text() + "# a remark\n")
    verdict = released.check()
    assert (verdict.standing, verdict.demanded) == (Standing.REFUSED, "1.1.1")
    assert str(file) in verdict.message
    with pytest.raises(VersionRefused, match=r"1\.1\.0 is released and never changes"):
        released.release()


def test_a_version_below_a_release_is_refused(released: Views):
    released.declare("1.0.5", {**PACE, "both": SUM})
    verdict = released.check()
    assert verdict.is_refused
    assert "1.1.0 is released already" in verdict.message


def test_a_higher_version_without_a_change_is_allowed_and_said(released: Views):
    file = released.folder / "feature_views" / "pace.py"
    rewrite(file, "1.1.0", "2.0.0")
    # the version stands in the file, so the file differs: that is a patch, and 2.0.0 is more than it demands
    verdict = released.check()
    assert (verdict.standing, verdict.demanded) == (Standing.UNRELEASED, "1.1.1")
    assert "mlops features release pace" in verdict.message


@pytest.mark.parametrize("version", ["1.2.0-rc.1", "1.2.0+build"])
def test_only_plain_versions_are_released(released: Views, version: str):
    released.declare(version, {**PACE, "both": SUM})
    assert "major.minor.patch" in released.check().message
    assert released.check().is_refused


def test_the_first_release_needs_no_other(views: Views):
    views.declare("0.3.0")
    verdict = views.check()
    assert (verdict.standing, verdict.released, verdict.demanded) == (Standing.UNRELEASED, None, None)
    assert views.release().version == "0.3.0"


def test_a_view_is_not_released_before_those_it_reads(views: Views):
    views.declare("1.0.0")
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.fast")'}, name="double")
    with pytest.raises(VersionRefused, match=r"pace 1\.0\.0, which is not released"):
        views.release("double")
    views.release("pace")
    assert views.release("double").description.upstream == {"pace": "1.0.0"}


def test_an_older_reader_must_follow_a_new_major_version_of_what_it_reads(views: Views):
    views.declare("1.0.0")
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.slow")'}, name="double")
    views.release("pace")
    views.release("double")
    views.declare("2.0.0", {"fast": 'pl.col("adjusted_close").pct_change(2)', "slow": PACE["slow"]})
    verdict = views.check("double")
    assert (verdict.standing, verdict.demanded) == (Standing.REFUSED, "2.0.0")
    assert "it reads pace 2.x, and was released on pace 1.x" in verdict.message
    views.declare("1.0.1", {"twice": '2 * pl.col("pace_v1.slow")'}, name="double")
    assert views.check("double").standing is Standing.UNRELEASED


def test_the_message_names_who_reads_the_changed_column(views: Views):
    views.declare("1.0.0")
    views.declare("1.0.0", {"twice": '2 * pl.col("pace.fast")'}, name="double")
    views.release("pace")
    views.declare("1.0.1", {**PACE, "fast": 'pl.col("adjusted_close").pct_change(2)'})
    message = views.check("pace").message
    assert "pace.py" in message
    assert "column fast" in message
    assert "at least 2.0.0" in message
    assert "read by view double" in message


def test_two_releases_that_keep_different_rows_are_compared_on_those_of_both(views: Views):
    columns = {f"c{window}": f'pl.col("adjusted_close").rolling_mean({window})' for window in range(2, 10)}
    views.declare("1.0.0", columns)
    first = views.release()
    views.declare("1.1.0", {**columns, **PACE})
    second = views.release()
    assert first.golden().rows.height != second.golden().rows.height
    assert {str(one) for one in compare_releases(first, second)} == {
        "minor: column fast: added",
        "minor: column slow: added",
    }


def test_a_retired_major_version_says_why_and_when(released: Views):
    retirement = released.releases.retire("pace", 1, reason="nobody reads it", at=NOON, by="ana")
    assert released.releases.retired("pace") == {1: retirement}
    assert retirement.retired_at == "2026-01-05T12:00:00+00:00"
    with pytest.raises(Conflict, match="retired already"):
        released.releases.retire("pace", 1, reason="again", at=NOON, by="ana")


@pytest.mark.parametrize(("major", "reason", "error"), [(7, "why", NotFound), (1, " ", Conflict)])
def test_what_can_not_be_retired_changes_nothing(released: Views, major: int, reason: str, error: type[Exception]):
    with pytest.raises(error):
        released.releases.retire("pace", major, reason=reason, at=NOON, by="ana")
    assert released.releases.retired("pace") == {}


def test_an_unknown_version_names_the_released_ones(released: Views):
    with pytest.raises(NotFound, match=r"Released versions: 1\.0\.0, 1\.0\.1, 1\.1\.0"):
        released.releases.get("pace", "3.0.0")


def test_the_reference_sample_holds_what_breaks_indicators():
    bars = reference_bars()
    assert_frame_equal(bars, reference_bars())
    assert set(bars.filter("is_index")["symbol"]) == {"REFX"}
    assert set(bars.filter(pl.col("split_coefficient") != 1)["split_coefficient"]) == {4.0, 0.1}
    assert bars.filter(pl.col("dividend_amount") > 0).height > 3
    assert bars.filter(symbol="REFC")["date"].diff().max().days > 12
    still = bars.filter(symbol="REFB")["adjusted_close"].rolling_std(20)
    assert (still == 0).any()
    assert bars.select("symbol", "date").is_unique().all()
    ordered = (pl.col("low") <= pl.min_horizontal("open", "close")) & (
        pl.max_horizontal("open", "close") <= pl.col("high")
    )
    assert bars.select(ordered.all()).item()
    assert bars["low"].min() > 0
    assert bars.select((pl.col("close") * 100 - (pl.col("close") * 100).round()).abs().max()).item() < 1e-6


def test_adjusted_prices_of_the_reference_sample_hold_the_return_over_splits_and_dividends():
    stock = reference_bars().filter(symbol="REFA").to_dicts()
    for before, now in pairwise(stock):
        whole = now["close"] * now["split_coefficient"] + now["dividend_amount"]
        if now["dividend_amount"] or now["split_coefficient"] != 1:
            # the vendor's convention: yesterday's price is scaled by 1 - dividend / close, and by the split
            factor = (1 - now["dividend_amount"] / before["close"]) / now["split_coefficient"]
            expected = now["close"] / (before["close"] * factor)
            assert now["adjusted_close"] / before["adjusted_close"] == pytest.approx(expected, rel=1e-12)
        else:
            assert now["adjusted_close"] / before["adjusted_close"] == pytest.approx(whole / before["close"], rel=1e-12)


def test_a_release_keeps_the_rows_around_events_and_stays_small(views: Views):
    columns = {f"c{window}": f'pl.col("adjusted_close").rolling_mean({window})' for window in range(2, 26)}
    views.declare("1.0.0", columns)
    release = views.release()
    assert sum(path.stat().st_size for path in release.folder.iterdir()) < 60_000
    bars = views.releases.bars
    values = golden(views.all["pace"], views.all, bars).rows
    kept = kept_rows(values, bars)
    stocks = bars.filter(~pl.col("is_index") & (pl.col("split_coefficient") != 1)).select("symbol", "date")
    assert stocks.join(kept, on=["symbol", "date"], how="anti").is_empty()
    assert kept.height < values.height
    assert_frame_equal(release.golden().rows, kept)
