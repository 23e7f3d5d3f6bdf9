"""Every column of every shipped view against TA-Lib, pandas or numpy, on walks and on twenty years of real bars."""

from __future__ import annotations

import calendar
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib

from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.features.look_ahead import certify
from mlops_assets.features.quality import out_of_range
from mlops_assets.features.spec import FeatureView, Partition
from mlops_assets.features.view import unavailable, with_upstream
from tests.features.bars import ohlcv_walk, real_bars, walk

FOLDER = Path(__file__).parents[2] / "mlops_assets" / "catalog"
VIEWS: Mapping[str, FeatureView] = {
    name: view
    for name, view in load_catalogue(FOLDER).feature_views.items()
    if "released" not in view.declared_in.parts
}

ON_THE_CATALOGUE_PAGE = [
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_hist",
    "bb_upper",
    "bb_middle",
    "bb_lower",
    "bb_width",
    "bb_position",
    "sma_5",
    "sma_10",
    "sma_20",
    "sma_50",
    "ema_12",
    "ema_26",
    "volume_sma_20",
    "volume_ratio",
    "obv",
    "return_1d",
    "return_5d",
    "return_20d",
    "hl_range",
    "volatility_20d",
    "atr_14",
    "momentum_12_1",
    "beta_60",
    "beta_252",
    "correlation_60",
    "correlation_252",
    "drawdown_252d",
    "momentum_12_1_rank",
    "momentum_12_1_z",
    "regime",
    "market_exposure",
    "momentum_exposure",
    "low_volatility_exposure",
    "day_of_week",
    "month",
    "turn_of_month",
]
"""The columns that the desk's catalogue of features names, with the names that the views give them."""


class Bars:
    """One stock's bars as arrays, adjusted by hand."""

    def __init__(self, rows: pl.DataFrame, index: pl.DataFrame) -> None:
        frame = rows.to_pandas()
        self.days: list[date] = rows["date"].to_list()
        self.close = frame["adjusted_close"].to_numpy()
        factor = frame["adjusted_close"] / frame["close"]
        self.high, self.low = (frame["high"] * factor).to_numpy(), (frame["low"] * factor).to_numpy()
        self.shares = np.cumprod(frame["split_coefficient"].to_numpy())
        self.volume = frame["volume"].to_numpy() / self.shares
        of_day = dict(index.select("date", "adjusted_close").iter_rows())
        self.index = np.array([of_day.get(day, math.nan) for day in self.days])

    @property
    def returns(self) -> pd.Series:
        return pd.Series(self.close).pct_change()

    @property
    def index_returns(self) -> pd.Series:
        return pd.Series(self.index).pct_change()


def ewm(values: np.ndarray | pd.Series, span: int) -> pd.Series:
    return pd.Series(values).ewm(span=span, adjust=False, min_periods=span).mean()


def macd_line(bars: Bars) -> pd.Series:
    return ewm(bars.close, 12) - ewm(bars.close, 26)


def macd_signal(bars: Bars) -> pd.Series:
    line = macd_line(bars)
    return ewm(line.dropna(), 9).reindex(line.index)


def band(number: int) -> Callable[[Bars], np.ndarray]:
    return lambda bars: talib.BBANDS(bars.close, timeperiod=20, nbdevup=2, nbdevdn=2)[number]


def band_position(bars: Bars) -> np.ndarray:
    upper, _, lower = talib.BBANDS(bars.close, timeperiod=20, nbdevup=2, nbdevdn=2)
    return (bars.close - lower) / (upper - lower)


def volatility(bars: Bars, window: int) -> pd.Series:
    return bars.returns.rolling(window).std() * math.sqrt(252)


def beta(bars: Bars, window: int) -> np.ndarray:
    # `np.cov` of each window, two passes: nothing of the moving sums
    pairs = np.column_stack([bars.returns, bars.index_returns])
    values = np.full(len(pairs), math.nan)
    for end in range(window, len(pairs)):
        matrix = np.cov(pairs[end - window + 1 : end + 1].T)
        values[end] = matrix[0, 1] / matrix[1, 1]
    return values


def turn_of_month(day: date) -> int:
    weekdays = [
        one
        for one in (
            date(day.year, day.month, number) for number in range(1, calendar.monthrange(day.year, day.month)[1] + 1)
        )
        if one.weekday() < 5
    ]
    return int(day in {weekdays[0], weekdays[1], weekdays[2], weekdays[-1]})


def by_day(values: Callable[[date], float]) -> Callable[[Bars], np.ndarray]:
    return lambda bars: np.array([values(day) for day in bars.days], dtype=float)


Series = np.ndarray | pd.Series

OF_A_STOCK: Mapping[str, Callable[[Bars], Series]] = {
    **{f"trend.sma_{n}": lambda bars, n=n: talib.SMA(bars.close, n) for n in (5, 10, 20, 50)},
    **{f"trend.ema_{n}": lambda bars, n=n: ewm(bars.close, n) for n in (12, 26)},
    **{f"momentum.return_{n}d": lambda bars, n=n: talib.ROCP(bars.close, n) for n in (1, 5, 20)},
    "momentum.momentum_12_1": lambda bars: pd.Series(bars.close).shift(21) / pd.Series(bars.close).shift(252) - 1,
    "momentum.rsi_14": lambda bars: talib.RSI(bars.close, 14),
    "momentum.macd": macd_line,
    "momentum.macd_signal": macd_signal,
    "momentum.macd_hist": lambda bars: macd_line(bars) - macd_signal(bars),
    "volatility.bb_upper": band(0),
    "volatility.bb_middle": band(1),
    "volatility.bb_lower": band(2),
    "volatility.bb_width": lambda bars: (band(0)(bars) - band(2)(bars)) / band(1)(bars),
    "volatility.bb_position": band_position,
    "volatility.hl_range": lambda bars: (bars.high - bars.low) / bars.close,
    "volatility.volatility_20d": lambda bars: volatility(bars, 20),
    "volatility.volatility_252d": lambda bars: volatility(bars, 252),
    "volatility.atr_14": lambda bars: talib.ATR(bars.high, bars.low, bars.close, 14),
    "volatility.drawdown_252d": lambda bars: bars.close / talib.MAX(bars.close, 252) - 1,
    "volume.volume_sma_20": lambda bars: talib.SMA(bars.volume, 20) * bars.shares,
    "volume.volume_ratio": lambda bars: bars.volume / talib.SMA(bars.volume, 20),
    "volume.obv": lambda bars: talib.OBV(bars.close, bars.volume) * bars.shares,
    **{f"index_relation.beta_{n}": lambda bars, n=n: beta(bars, n) for n in (60, 252)},
    **{
        f"index_relation.correlation_{n}": lambda bars, n=n: bars.returns.rolling(n).corr(bars.index_returns)
        for n in (60, 252)
    },
    "seasonality.day_of_week": by_day(date.isoweekday),
    "seasonality.month": by_day(lambda day: day.month),
    "seasonality.month_sin": by_day(lambda day: math.sin(2 * math.pi * (day.month - 1) / 12)),
    "seasonality.month_cos": by_day(lambda day: math.cos(2 * math.pi * (day.month - 1) / 12)),
    "seasonality.turn_of_month": by_day(turn_of_month),
}


def rank(values: pd.Series) -> pd.Series:
    known = values.dropna()
    if known.nunique() < 2:
        return pd.Series(math.nan, index=values.index)
    # how many lie below, and half of those that are equal
    ranks = [((known < one).sum() + ((known == one).sum() - 1) / 2) / (len(known) - 1) for one in known]
    return pd.Series(ranks, index=known.index).reindex(values.index)


def z_score(values: pd.Series) -> pd.Series:
    if values.dropna().nunique() < 2:
        return pd.Series(math.nan, index=values.index)
    return (values - np.nanmean(values)) / np.nanstd(values, ddof=1)


OF_A_DAY: Mapping[str, tuple[str, float, Callable[[pd.Series], pd.Series]]] = {
    "cross_section.momentum_12_1_rank": ("momentum.momentum_12_1", 1, rank),
    "cross_section.momentum_12_1_z": ("momentum.momentum_12_1", 1, z_score),
    "cross_section.return_20d_rank": ("momentum.return_20d", 1, rank),
    "cross_section.return_20d_z": ("momentum.return_20d", 1, z_score),
    "cross_section.volatility_20d_rank": ("volatility.volatility_20d", 1, rank),
    "cross_section.volatility_20d_z": ("volatility.volatility_20d", 1, z_score),
    "factor_exposures.market_exposure": ("index_relation.beta_252", 1, z_score),
    "factor_exposures.momentum_exposure": ("momentum.momentum_12_1", 1, z_score),
    "factor_exposures.low_volatility_exposure": ("volatility.volatility_252d", -1, z_score),
}


def index_measures(index: pl.DataFrame) -> pd.DataFrame:
    price = pd.Series(index["adjusted_close"].to_numpy(), index=index["date"].to_list())
    trend = price / talib.SMA(price.to_numpy(), 200) - 1
    volatility_of_index = price.pct_change().rolling(20).std() * math.sqrt(252)
    ratio = volatility_of_index / volatility_of_index.rolling(252).mean()
    regime = []
    for far, wild in zip(trend, ratio, strict=True):
        if math.isnan(far) or math.isnan(wild):
            regime.append(None)
        elif wild >= 1.5:
            regime.append("volatile")
        else:
            regime.append("bullish" if far > 0.01 else "bearish" if far < -0.01 else "sideways")
    return pd.DataFrame(
        {
            "index_trend": trend,
            "index_volatility": volatility_of_index,
            "index_volatility_ratio": ratio,
            "regime": pd.Series(regime, index=price.index, dtype=object),
        }
    )


OF_THE_INDEX = {f"regime.{name}" for name in ("index_trend", "index_volatility", "index_volatility_ratio", "regime")}

SAMPLES: Mapping[str, Callable[[], pl.DataFrame]] = {
    "walk": lambda: ohlcv_walk(count=700),
    "real": real_bars,
}


@pytest.fixture(scope="module", params=sorted(SAMPLES))
def bars(request: pytest.FixtureRequest) -> pl.DataFrame:
    return SAMPLES[request.param]()


@pytest.fixture(scope="module")
def values(bars: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """What every shipped view says of the bars."""
    known = dict[str, pl.DataFrame]()
    for view in VIEWS.values():
        with_upstream(view, VIEWS, bars, known)
    return known


def column(values: Mapping[str, pl.DataFrame], reference: str, symbol: str) -> np.ndarray:
    view, _, name = reference.partition(".")
    found = values[view].filter(pl.col("symbol") == symbol)[name]
    return found.cast(pl.Float64).to_numpy()


def assert_equal(ours: np.ndarray, theirs: Series, scale: float = 1.0):
    expected = np.asarray(theirs, dtype=float)
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9 * scale, equal_nan=True)


def test_every_shipped_column_has_an_independent_check():
    shipped = {f"{view.name}.{name}" for view in VIEWS.values() for name in view.column_names}
    assert shipped == {*OF_A_STOCK, *OF_A_DAY, *OF_THE_INDEX}


def test_every_column_of_the_catalogue_page_is_shipped_once():
    shipped = [name for view in VIEWS.values() for name in view.column_names]
    assert set(ON_THE_CATALOGUE_PAGE) <= set(shipped)
    assert len(shipped) == len(set(shipped))


@pytest.mark.parametrize("reference", sorted(OF_A_STOCK))
def test_a_column_equals_its_independent_computation(
    reference: str, bars: pl.DataFrame, values: dict[str, pl.DataFrame]
):
    index = bars.filter("is_index")
    for (symbol,), rows in bars.filter(~pl.col("is_index")).group_by("symbol", maintain_order=True):
        theirs = OF_A_STOCK[reference](Bars(rows, index))
        ours = column(values, reference, str(symbol))
        # A running sum of shares carries the rounding of its largest value.
        assert_equal(ours, theirs, scale=np.nanmax(np.abs(ours)) if reference == "volume.obv" else 1.0)


@pytest.mark.parametrize("reference", sorted(OF_A_DAY))
def test_a_column_of_a_day_equals_its_independent_computation(reference: str):
    source, sign, standing = OF_A_DAY[reference]
    bars = ohlcv_walk(tuple("ABCDEFG"), count=300, seed=4)
    # one stock lists late, so that days differ in how many stocks they have
    bars = bars.filter((pl.col("symbol") != "C") | (pl.col("date") > bars["date"].unique().sort()[40]))
    computed = dict[str, pl.DataFrame]()
    view, _, name = reference.partition(".")
    ours = with_upstream(VIEWS[view], VIEWS, bars, computed)
    upstream, _, of = source.partition(".")
    frame = computed[upstream].select("symbol", "date", of).to_pandas()
    expected = (sign * frame.set_index("symbol")[of]).groupby(frame["date"].to_numpy()).transform(standing)
    known = ours[name].to_numpy()
    assert np.isfinite(known).sum() > 100
    assert_equal(known, expected)


def test_the_regime_equals_its_rule_written_out(bars: pl.DataFrame, values: dict[str, pl.DataFrame]):
    expected = index_measures(bars.filter("is_index"))
    for (_,), rows in values["regime"].group_by("symbol"):
        of_days = expected.loc[rows["date"].to_list()]
        for name in ("index_trend", "index_volatility", "index_volatility_ratio"):
            assert_equal(rows[name].to_numpy(), of_days[name])
        assert rows["regime"].to_list() == of_days["regime"].to_list()
    assert {*values["regime"]["regime"].drop_nulls()} <= {"bullish", "bearish", "volatile", "sideways"}


def test_all_four_regimes_occur_in_twenty_real_years():
    regimes = with_upstream(VIEWS["regime"], VIEWS, real_bars())["regime"].drop_nulls().value_counts(normalize=True)
    shares = dict(regimes.iter_rows())
    assert set(shares) == {"bullish", "bearish", "volatile", "sideways"}
    assert min(shares.values()) > 0.03


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_every_shipped_view_is_certified(name: str):
    certificate = certify(VIEWS[name], ohlcv_walk(count=320), VIEWS)
    assert certificate.is_clean, [str(peek) for peek in certificate.peeks]
    assert certificate.rows_compared > 1_000


def test_every_number_of_a_shipped_view_lies_in_its_range(values: dict[str, pl.DataFrame]):
    for view in VIEWS.values():
        numbers = [one for one in view.columns if one.type in {"float", "integer"}]
        assert out_of_range(values[view.name], numbers) == []


def test_every_column_is_filled_after_its_warm_up(bars: pl.DataFrame, values: dict[str, pl.DataFrame]):
    several_stocks = bars.filter(~pl.col("is_index"))["symbol"].n_unique() > 1
    for view in VIEWS.values():
        if view.partition is Partition.DATE and not several_stocks:
            assert all(values[view.name][name].null_count() == values[view.name].height for name in view.column_names)
            continue
        position = pl.int_range(pl.len()).over("symbol")
        settled = values[view.name].filter(position >= view.warm_up_bars)
        assert settled.height > 0
        assert settled.select(view.column_names).null_count().row(0) == (0,) * len(view.columns)


def test_every_column_says_what_it_is():
    for view in VIEWS.values():
        for one in view.columns:
            place = f"{view.name}.{one.name}"
            assert one.formula, f"{place} has no formula"
            assert one.description.endswith("."), f"{place}: {one.description}"
            is_plain = one.type == "string" or one.name in {"month_sin", "month_cos", "turn_of_month"}
            assert one.unit or is_plain, f"{place} has no unit"


def test_a_source_with_closes_only_gives_every_column_that_needs_no_more():
    bars = walk(count=30)
    lacking = {
        f"{view.name}.{name}": inputs
        for view in VIEWS.values()
        if view.partition is not Partition.DATE
        for name, inputs in unavailable(view, bars).items()
    }
    assert lacking == {
        "volatility.hl_range": ("adjusted_high", "adjusted_low"),
        "volatility.atr_14": ("adjusted_high", "adjusted_low"),
        "volume.volume_sma_20": ("split_factor", "volume"),
        "volume.volume_ratio": ("split_factor", "volume"),
        "volume.obv": ("split_factor", "volume"),
    }


SPLIT_COLUMNS = ("volume_sma_20", "volume_ratio", "obv")


def test_a_split_changes_no_ratio_and_counts_in_the_shares_of_the_day():
    whole = ohlcv_walk(("AAA",), count=60).with_columns(split_coefficient=pl.lit(1.0))
    split_day = whole["date"].unique().sort()[30]
    is_after = (pl.col("date") >= split_day) & ~pl.col("is_index")
    coefficient = pl.when((pl.col("date") == split_day) & ~pl.col("is_index")).then(4.0).otherwise(1.0)
    prices = [
        pl.when(is_after).then(pl.col(name) / 4).otherwise(pl.col(name)) for name in ("open", "high", "low", "close")
    ]
    shares = pl.when(is_after).then(pl.col("volume") * 4).otherwise(pl.col("volume"))
    split = whole.with_columns(*prices, shares, split_coefficient=coefficient)
    plain, after = (with_upstream(VIEWS["volume"], VIEWS, one) for one in (whole, split))
    factor = pl.Series([1.0] * 30 + [4.0] * 30)
    for name, scale in zip(SPLIT_COLUMNS, (factor, 1.0, factor), strict=True):
        np.testing.assert_allclose(after[name].to_numpy(), (plain[name] * scale).to_numpy(), rtol=1e-12)
    ranges = [with_upstream(VIEWS["volatility"], VIEWS, one) for one in (whole, split)]
    for name in ("hl_range", "atr_14"):
        np.testing.assert_allclose(ranges[1][name].to_numpy(), ranges[0][name].to_numpy(), rtol=1e-12)


def test_a_later_split_changes_no_earlier_volume():
    bars = ohlcv_walk(("AAA",), count=60)
    last = bars["date"].max()
    split = bars.with_columns(
        split_coefficient=pl.when(pl.col("date") == last).then(7.0).otherwise(pl.col("split_coefficient"))
    )
    before, after = (with_upstream(VIEWS["volume"], VIEWS, one).filter(pl.col("date") < last) for one in (bars, split))
    assert before.equals(after)


FLAT_NULLS = {
    "volatility.bb_position",
    "index_relation.correlation_60",
    "index_relation.correlation_252",
    "volume.volume_ratio",
}


def test_a_stock_that_never_trades_gives_nulls_and_no_infinite_value():
    # a suspended stock: one price, no shares; the check of the output would refuse NaN and infinite values
    bars = ohlcv_walk(("AAA", "BBB"), count=400)
    is_dead = (pl.col("symbol") == "BBB") & (pl.col("date") >= bars["date"].unique().sort()[100])
    dead = bars.with_columns(
        *(pl.when(is_dead).then(7.77).otherwise(pl.col(name)).alias(name) for name in ("open", "high", "low", "close")),
        adjusted_close=pl.when(is_dead).then(7.77).otherwise(pl.col("adjusted_close")),
        volume=pl.when(is_dead).then(0).otherwise(pl.col("volume")),
        split_coefficient=pl.when(is_dead).then(1.0).otherwise(pl.col("split_coefficient")),
    )
    known = dict[str, pl.DataFrame]()
    last = {
        f"{view.name}.{name}": with_upstream(view, VIEWS, dead, known).filter(pl.col("symbol") == "BBB")[name][-1]
        for view in VIEWS.values()
        for name in view.column_names
    }
    assert {name for name, value in last.items() if value is None} == FLAT_NULLS
    assert last["volatility.bb_width"] == last["volatility.volatility_252d"] == last["volatility.hl_range"] == 0.0
    assert last["volume.volume_sma_20"] == pytest.approx(0.0, abs=1e-9)


def test_a_whole_market_that_stands_still_has_no_regime():
    still = ohlcv_walk(("AAA",), count=320).with_columns(adjusted_close=pl.lit(50.0))
    values = with_upstream(VIEWS["regime"], VIEWS, still)
    assert values["regime"].null_count() == values.height
    assert values["index_volatility"].drop_nulls().unique().to_list() == [0.0]


@pytest.mark.parametrize("jump", [1e-4, 1e4])
def test_a_crash_and_a_recovery_leave_every_value_finite_and_in_range(jump: float):
    bars = ohlcv_walk(("AAA", "BBB"), count=330, seed=8)
    moved = (pl.col("symbol") == "AAA") & (pl.col("date") > bars["date"].unique().sort()[200])
    prices = ("open", "high", "low", "close", "adjusted_close")
    bars = bars.with_columns(
        pl.when(moved).then(pl.col(name) * jump).otherwise(pl.col(name)).alias(name) for name in prices
    )
    known = dict[str, pl.DataFrame]()
    for view in VIEWS.values():
        numbers = [one for one in view.columns if one.type != "string"]
        assert out_of_range(with_upstream(view, VIEWS, bars, known), numbers) == []


def test_an_index_that_missed_a_day_leaves_that_day_without_a_regime():
    bars = ohlcv_walk(("AAA",), count=320)
    day = bars["date"].unique().sort()[310]
    holed = bars.filter(~(pl.col("is_index") & (pl.col("date") == day)))
    regime = with_upstream(VIEWS["regime"], VIEWS, holed)
    assert regime.filter(pl.col("date") == day)["regime"].to_list() == [None]
    assert regime.filter(pl.col("date") == day + timedelta(days=1))["regime"].null_count() == 0


COMPUTE_ALL = """
import sys
from pathlib import Path
import polars as pl
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.features.view import with_upstream
folder, views = Path(sys.argv[1]), load_catalogue(Path(sys.argv[2])).feature_views
bars, known = pl.read_parquet(folder / "bars.parquet"), {}
for view in views.values():
    with_upstream(view, views, bars, known).write_parquet(folder / f"{view.name}.parquet")
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_no_bit_depends_on_the_number_of_threads(threads: int, tmp_path: Path):
    bars = ohlcv_walk(tuple("ABCDEFG"), count=300)
    bars.write_parquet(tmp_path / "bars.parquet")
    command = [sys.executable, "-c", COMPUTE_ALL, str(tmp_path), str(FOLDER)]
    subprocess.run(command, check=True, env={**os.environ, "POLARS_MAX_THREADS": str(threads)})
    known = dict[str, pl.DataFrame]()
    for view in VIEWS.values():
        here = with_upstream(view, VIEWS, bars, known)
        assert pl.read_parquet(tmp_path / f"{view.name}.parquet").equals(here)
