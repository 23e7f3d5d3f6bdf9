"""What computing features costs: the shipped views of a stock beside TA-Lib in a loop and pandas groupby.

`python -m benchmarks.feature_compute` prints a table and writes it to `docs/benchmarks/feature_compute.md`. Each figure
is that of a process of its own, which is given the same bars in memory and gives a frame of the same columns; reading
the bars, imports (each first computes two stocks) and comparing the results are not counted. The contestants take
turns, so that a machine whose speed drifts drifts for all, and their results must agree.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from mlops_assets.features.spec import FeatureView

SYMBOLS, SESSIONS, ROUNDS = 500, 5_040, 5
LIMITS = {"talib": 1.5, "talib_in_place": 1.5, "pandas": 0.4}
"""How many times the cost of a contestant the shipped views may cost."""
ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = ROOT / "mlops_assets" / "catalog"
TARGET = ROOT / "docs" / "benchmarks" / "feature_compute.md"

SMAS, EMAS, RETURNS, VOLATILITIES, RELATIONS = (5, 10, 20, 50), (12, 26), (1, 5, 20), (20, 252), (60, 252)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one process took to compute: CPU and wall seconds, and its greatest resident memory in MB."""

    cpu: float
    wall: float
    memory: float


def ours(bars: pl.DataFrame) -> pl.DataFrame:
    """Every view over a stock's own bars, as the platform computes it."""
    from mlops_assets.features.bar_rows import BarRows
    from mlops_assets.features.view import compute_view

    rows = BarRows(bars)
    values = [compute_view(view, rows) for view in _views()]
    keys = values[0].select("symbol", "date", "event_at", "known_at")
    return pl.concat([keys, *(one.drop(keys.columns) for one in values)], how="horizontal")


@cache
def _views() -> list[FeatureView]:
    from mlops_assets.catalog.loader import load_catalogue
    from mlops_assets.features.spec import Partition

    declared = load_catalogue(CATALOGUE).feature_views.values()
    return [
        view
        for view in declared
        if view.partition in (Partition.SYMBOL, Partition.CALENDAR) and "released" not in view.declared_in.parts
    ]


def talib_loop(bars: pl.DataFrame) -> pl.DataFrame:
    """TA-Lib for each symbol in turn, as its users write it: a frame for each, put together at the end."""
    stocks, index = _stocks_and_index(bars)
    column = _arrays(stocks)
    frames = [
        stocks[start:end]
        .select("symbol", "date", "event_at", "known_at")
        .with_columns(
            pl.Series(name, values)
            for name, values in _talib_values({of: one[start:end] for of, one in column.items()}, index[start:end])
        )
        for start, end in _bounds(stocks)
    ]
    return pl.concat(frames, rechunk=True).with_columns(
        pl.Series(name, values) for name, values in _seasonality(stocks["date"].to_numpy()).items()
    )


def talib_in_place(bars: pl.DataFrame) -> pl.DataFrame:
    """TA-Lib for each symbol in turn, into one array for each column that exists beforehand."""
    stocks, index = _stocks_and_index(bars)
    column = _arrays(stocks)
    found = dict[str, np.ndarray]()
    for start, end in _bounds(stocks):
        for name, values in _talib_values({of: one[start:end] for of, one in column.items()}, index[start:end]):
            if name not in found:
                found[name] = np.empty(stocks.height)
            found[name][start:end] = values
    found |= _seasonality(stocks["date"].to_numpy())
    return stocks.select("symbol", "date", "event_at", "known_at").with_columns(
        pl.Series(name, values) for name, values in found.items()
    )


def _arrays(stocks: pl.DataFrame) -> dict[str, np.ndarray]:
    names = ("close", "high", "low", "adjusted_close", "split_coefficient")
    return {**{name: stocks[name].to_numpy() for name in names}, "volume": stocks["volume"].cast(pl.Float64).to_numpy()}


def _bounds(stocks: pl.DataFrame) -> list[tuple[int, int]]:
    """Return the first row of each symbol and the row after its last."""
    starts = (stocks["symbol"] != stocks["symbol"].shift(1)).fill_null(value=True).arg_true().to_list()
    return list(zip(starts, [*starts[1:], stocks.height], strict=True))


def _talib_values(bars: Mapping[str, np.ndarray], market: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the columns of one symbol; numpy computes what TA-Lib lacks."""
    import talib

    def ema(values: np.ndarray, span: int) -> np.ndarray:
        # TA-Lib starts at a simple mean; over copies of the first value that is the first value.
        started = talib.EMA(np.concatenate([np.full(span - 1, values[0]), values]), span)[span - 1 :]
        started[: span - 1] = np.nan
        return started

    price = bars["adjusted_close"]
    factor = price / bars["close"]
    high, low = bars["high"] * factor, bars["low"] * factor
    shares = np.cumprod(bars["split_coefficient"])
    volume = bars["volume"] / shares
    for window in SMAS:
        yield (f"sma_{window}", talib.SMA(price, window))
    fast, slow = (ema(price, span) for span in EMAS)
    yield ("ema_12", fast)
    yield ("ema_26", slow)
    returns = talib.ROCP(price, 1)
    yield ("return_1d", returns)
    for window in RETURNS[1:]:
        yield (f"return_{window}d", talib.ROCP(price, window))
    momentum = np.full(len(price), np.nan)
    momentum[252:] = price[231:-21] / price[:-252] - 1
    yield ("momentum_12_1", momentum)
    yield ("rsi_14", talib.RSI(price, 14))
    line, signal = fast - slow, np.full(len(price), np.nan)
    signal[25:] = ema(line[25:], 9)
    yield ("macd", line)
    yield ("macd_signal", signal)
    yield ("macd_hist", line - signal)
    upper, middle, lower = talib.BBANDS(price, timeperiod=20, nbdevup=2, nbdevdn=2)
    yield ("bb_upper", upper)
    yield ("bb_middle", middle)
    yield ("bb_lower", lower)
    yield ("bb_width", (upper - lower) / middle)
    yield ("bb_position", (price - lower) / (upper - lower))
    yield ("hl_range", (high - low) / price)
    for window in VOLATILITIES:
        scale = np.sqrt(252 * window / (window - 1))
        yield (f"volatility_{window}d", talib.STDDEV(returns, window) * scale)
    yield ("atr_14", talib.ATR(high, low, price, 14))
    yield ("drawdown_252d", price / talib.MAX(price, 252) - 1)
    average = talib.SMA(volume, 20)
    yield ("volume_sma_20", average * shares)
    yield ("volume_ratio", volume / average)
    yield ("obv", talib.OBV(price, volume) * shares)
    market_returns = talib.ROCP(market, 1)
    for window in RELATIONS:
        yield (f"beta_{window}", talib.BETA(market, price, window))
        yield (f"correlation_{window}", talib.CORREL(returns, market_returns, window))


def pandas_groupby(bars: pl.DataFrame) -> pl.DataFrame:
    """Grouped rolling and exponential windows of pandas, each series once."""
    import pandas as pd

    stocks, index = _stocks_and_index(bars)
    symbol = stocks["symbol"].to_pandas().astype("category")
    column = {
        name: pd.Series(stocks[name].to_numpy())
        for name in ("close", "high", "low", "adjusted_close", "split_coefficient", "volume")
    }

    def grouped(values: pd.Series):  # noqa: ANN202 - pandas does not export the type
        return values.groupby(symbol, observed=True, sort=False)

    def flat(values: pd.Series) -> pd.Series:
        return pd.Series(values.to_numpy())

    def mean(values: pd.Series, window: int) -> pd.Series:
        return flat(grouped(values).rolling(window).mean())

    def deviation(values: pd.Series, window: int, ddof: int) -> pd.Series:
        return flat(grouped(values).rolling(window).std(ddof=ddof))

    def ewm(values: pd.Series, **how: float) -> pd.Series:
        return flat(grouped(values).ewm(adjust=False, **how).mean())

    row = grouped(column["close"]).cumcount()

    def wilder(values: pd.Series, period: int) -> pd.Series:
        seeded = values.where(row > period).mask(row == period, mean(values, period))
        return ewm(seeded, alpha=1 / period)

    price = column["adjusted_close"]
    factor = price / column["close"]
    high, low = column["high"] * factor, column["low"] * factor
    shares = grouped(column["split_coefficient"]).cumprod()
    volume = column["volume"] / shares
    found = {f"sma_{window}": mean(price, window) for window in SMAS}
    found |= {f"ema_{span}": ewm(price, span=span, min_periods=span) for span in EMAS}
    found |= {f"return_{window}d": price / grouped(price).shift(window) - 1 for window in RETURNS}
    found["momentum_12_1"] = grouped(price).shift(21) / grouped(price).shift(252) - 1
    change = grouped(price).diff()
    gain, loss = wilder(change.clip(lower=0), 14), wilder((-change).clip(lower=0), 14)
    found["rsi_14"] = 100 * gain / (gain + loss)
    found["macd"] = found["ema_12"] - found["ema_26"]
    found["macd_signal"] = ewm(found["macd"], span=9, min_periods=9)
    found["macd_hist"] = found["macd"] - found["macd_signal"]
    spread, middle = deviation(price, 20, 0), found["sma_20"]
    found |= {"bb_upper": middle + 2 * spread, "bb_middle": middle, "bb_lower": middle - 2 * spread}
    found["bb_width"] = 4 * spread / middle
    found["bb_position"] = (price - found["bb_lower"]) / (4 * spread)
    found["hl_range"] = (high - low) / price
    returns = found["return_1d"]
    found |= {f"volatility_{window}d": deviation(returns, window, 1) * np.sqrt(252) for window in VOLATILITIES}
    before = grouped(price).shift(1)
    found["atr_14"] = wilder(np.maximum(high, before) - np.minimum(low, before), 14)
    found["drawdown_252d"] = price / flat(grouped(price).rolling(252).max()) - 1
    average = mean(volume, 20)
    found |= {"volume_sma_20": average * shares, "volume_ratio": volume / average}
    found["obv"] = grouped(np.sign(change).fillna(1.0) * volume).cumsum() * shares
    market_price = pd.Series(index)
    market = market_price / grouped(market_price).shift(1) - 1
    for window in RELATIONS:
        covariance = mean(returns * market, window) - mean(returns, window) * mean(market, window)
        spread_of_market = deviation(market, window, 0)
        found[f"beta_{window}"] = covariance / spread_of_market**2
        found[f"correlation_{window}"] = covariance / (spread_of_market * deviation(returns, window, 0))
    seasonality = _seasonality(stocks["date"].to_numpy())
    return stocks.select("symbol", "date", "event_at", "known_at").with_columns(
        pl.Series(name, np.asarray(values)) for name, values in {**found, **seasonality}.items()
    )


def _stocks_and_index(bars: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    stocks = bars.filter(~pl.col("is_index"))
    index = bars.filter("is_index").select("date", of_index="adjusted_close")
    return stocks, stocks.select("date").join(index, on="date", how="left", maintain_order="left")[
        "of_index"
    ].to_numpy()


def _seasonality(dates: np.ndarray) -> dict[str, np.ndarray]:
    days, place = np.unique(dates.astype("datetime64[D]"), return_inverse=True)
    month = days.astype("datetime64[M]")
    number = month.astype(np.int64) % 12
    next_day, third_before = np.busday_offset(days, 1, "backward"), np.busday_offset(days, -3, "forward")
    is_turn = (next_day.astype("datetime64[M]") != month) | (third_before.astype("datetime64[M]") != month)
    of_day = {
        "day_of_week": (days.astype(np.int64) + 3) % 7 + 1,
        "month": number + 1,
        "month_sin": np.sin(number * np.pi / 6),
        "month_cos": np.cos(number * np.pi / 6),
        "turn_of_month": is_turn.astype(np.int64),
    }
    return {name: values[place] for name, values in of_day.items()}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """Who computes, and with how many threads (0: as many as there are cores)."""

    title: str
    compute: Callable[[pl.DataFrame], pl.DataFrame]
    threads: int = 1
    tolerance: float = 1e-9


CONTESTANTS: Mapping[str, Contestant] = {
    "ours": Contestant(title="the shipped views, one thread", compute=ours),
    "ours_parallel": Contestant(title="the shipped views, all cores", compute=ours, threads=0),
    "talib": Contestant(title="TA-Lib in a loop, a frame for each symbol", compute=talib_loop),
    "talib_in_place": Contestant(title="TA-Lib in a loop, into arrays made beforehand", compute=talib_in_place),
    "pandas": Contestant(title="pandas groupby", compute=pandas_groupby, tolerance=1e-8),
}


def compute_alone(name: str, folder: Path) -> Cost:
    """Compute in this process, keep the values for comparison, and return the cost of computing."""
    bars = pl.read_parquet(folder / "bars.parquet")
    CONTESTANTS[name].compute(bars.filter(pl.col("symbol").is_in(["S000", "S001", "INDEX"])))  # imports, first use
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    values = CONTESTANTS[name].compute(bars)
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - started
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    values.write_parquet(folder / f"{name}.parquet", compression="uncompressed")
    return Cost(cpu=cpu, wall=wall, memory=after.ru_maxrss / 1024)


def disagreements(folder: Path, name: str) -> list[str]:
    """Return a sentence for each column in which a contestant differs from the shipped views."""
    sentences = list[str]()
    columns = pl.read_parquet_schema(folder / "ours.parquet")
    others = pl.read_parquet_schema(folder / f"{name}.parquet")
    if set(columns) != set(others):
        return [f"{name} has other columns: {sorted(set(columns) ^ set(others))}"]
    for column, kind in columns.items():
        mine, theirs = (pl.read_parquet(folder / f"{one}.parquet", columns=[column])[column] for one in ("ours", name))
        if kind != pl.Float64:
            if not mine.equals(theirs):
                sentences.append(f"{name}: {column} differs")
            continue
        # A running sum carries the rounding of the largest value it went through.
        scale = mine.abs().max() if column == "obv" else mine.abs().clip(lower_bound=1.0)
        apart = ((mine - theirs.fill_nan(None)).abs() / scale).max()
        if (
            apart is None
            or apart > CONTESTANTS[name].tolerance
            or not mine.is_null().equals(theirs.fill_nan(None).is_null())
        ):  # pyright: ignore[reportOperatorIssue]
            sentences.append(f"{name}: {column} is {apart} apart, or null elsewhere")
    return sentences


def measure(folder: Path) -> str:
    """Measure everything and return the page."""
    from tests.features.bars import ohlcv_walk

    symbols = tuple(f"S{number:03d}" for number in range(SYMBOLS))
    ohlcv_walk(symbols, count=SESSIONS).write_parquet(folder / "bars.parquet")
    costs: dict[str, list[Cost]] = {name: [] for name in CONTESTANTS}
    for round_number in range(1, ROUNDS + 1):
        for name, contestant in CONTESTANTS.items():
            threads = {"POLARS_MAX_THREADS": str(contestant.threads)} if contestant.threads else {}
            command = [sys.executable, "-m", "benchmarks.feature_compute", name, str(folder)]
            done = subprocess.run(command, env={**os.environ, **threads}, check=True, capture_output=True, text=True)
            costs[name].append(Cost(**json.loads(done.stdout)))
        print(f"round {round_number} of {ROUNDS}", file=sys.stderr)
    wrong = [sentence for name in CONTESTANTS if name != "ours" for sentence in disagreements(folder, name)]
    text = _page(costs, list(pl.read_parquet_schema(folder / "ours.parquet"))[4:])
    if wrong:
        raise SystemExit(f"{text}\nresults differ: {wrong}")
    return text


def _judged(name: str, ratio: float) -> str:
    """Say how many times a contestant's cost ours is, and whether that is within its limit."""
    if (limit := LIMITS.get(name)) is None:
        return f"{ratio:.2f} times that | "
    return f"{ratio:.2f} times that | <= {limit:g}: {'held' if ratio <= limit else 'MISSED'}"


def _page(costs: Mapping[str, list[Cost]], columns: list[str]) -> str:
    typical = {
        name: Cost(**{part: median(asdict(cost)[part] for cost in of) for part in ("cpu", "wall", "memory")})
        for name, of in costs.items()
    }
    ours_cost = typical["ours"].cpu
    lines = [
        f"| {CONTESTANTS[name].title} | {cost.cpu:.2f} | {_judged(name, ours_cost / cost.cpu)} "
        f"| {cost.wall:.2f} | {cost.memory:,.0f} |"
        for name, cost in typical.items()
    ]
    rows = f"{SYMBOLS * SESSIONS:,}"
    page = [
        "# Computing features",
        "",
        f"{SYMBOLS} stocks over {SESSIONS:,} sessions ({rows} rows), {len(columns)} columns: medians of {ROUNDS}",
        f"processes in turns, on {os.cpu_count()} cores, Python {platform.python_version()}, polars {pl.__version__}.",
        "Measure again with `python -m benchmarks.feature_compute`.",
        "",
        "| who | CPU seconds | the shipped views cost | limit | wall seconds | peak memory, MB |",
        "| --- | --- | --- | --- | --- | --- |",
        *lines,
        "",
        "Everyone gets the same bars in memory and returns one frame with the keys and these columns:",
        f"{', '.join(f'`{name}`' for name in columns)}.",
        "",
        "TA-Lib computes SMA, EMA, ROCP, RSI, BBANDS, STDDEV, ATR, MAX, OBV, BETA and CORREL, and numpy what follows",
        "from them, the twelve-month momentum and the seasonality. TA-Lib's and pandas' frames hold NaN where ours",
        "hold null. The shipped views also check the bars (types, keys, order) and that no value is NaN or infinite.",
        "Ours and TA-Lib's results agree to 1e-9 of the value, or 1e-9 where it is below one; a running sum (`obv`)",
        "to 1e-9 of its greatest value. Pandas' moving deviation keeps more of what has left the window: it is",
        "compared to 1e-8.",
        "",
        "A frame for each symbol is how TA-Lib is used in a loop. Into arrays made beforehand it is at its best: its C",
        "loops know no nulls, and numpy asks the system for huge pages.",
        "",
    ]
    return "\n".join(page)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(asdict(compute_alone(sys.argv[1], Path(sys.argv[2])))))
    else:
        with tempfile.TemporaryDirectory() as place:
            found = measure(Path(place))
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(found, encoding="utf-8")
        print(found)
