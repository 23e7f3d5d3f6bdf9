"""The bundled sample: decades of real prices that come with an installed package.

Twenty US large caps and the S&P 500 index, 1990 to 2022, adjusted closes only, from the package `skfolio`
(BSD 3-Clause). The files are read where the package manager put them: importing skfolio would cost seconds.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import io
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import polars as pl

from mlops_assets.kernel.fingerprint import bytes_sha256, fingerprint
from mlops_assets.market_data.sources import RAW_SCHEMA, MalformedSource, Progress, RawBars, SourceUnavailable

PACKAGE = "skfolio"
STOCKS_FILE = "skfolio/datasets/data/sp500_dataset.csv.gz"
INDEX_FILE = "skfolio/datasets/data/sp500_index.csv.gz"
INDEX_SYMBOL = "SP500"


class BundledSample:
    """Twenty US large caps and their index, from the files of the installed package `skfolio`."""

    name = "bundled_sample"
    columns = frozenset({"adjusted_close"})
    # End-of-day prices are public soon after the close; the hour keeps a same-minute use out.
    publication_lag = timedelta(hours=1)
    index_symbols = frozenset({INDEX_SYMBOL})

    @property
    def description(self) -> str:
        return (
            f"Adjusted daily closes of 20 US large caps and the S&P 500 index, from the package {PACKAGE} "
            f"{self._files.version} (BSD 3-Clause). Closed history; survivors only, so its returns flatter."
        )

    def fingerprint(self) -> str | None:
        return self._files.fingerprint

    def history_ends(self) -> date | None:
        return _wide(self._files.index, INDEX_FILE)["Date"].max()  # pyright: ignore[reportReturnType]

    def fetch(self, progress: Progress) -> RawBars:
        files = self._files
        progress(f"reading the bundled sample of {PACKAGE} {files.version}")
        rows = pl.concat([_long(files.stocks, STOCKS_FILE), _long(files.index, INDEX_FILE)])
        progress(f"read {rows.height:,} rows of {rows['symbol'].n_unique()} symbols")
        return RawBars(rows=rows, fingerprint=files.fingerprint)

    @cached_property
    def _files(self) -> _Files:
        try:
            package = importlib.metadata.distribution(PACKAGE)
            return _Files(
                version=package.version,
                stocks=Path(str(package.locate_file(STOCKS_FILE))).read_bytes(),
                index=Path(str(package.locate_file(INDEX_FILE))).read_bytes(),
            )
        except (importlib.metadata.PackageNotFoundError, FileNotFoundError) as problem:
            raise SourceUnavailable(
                source=self.name,
                problem=f"the data files of the package {PACKAGE} are not installed ({problem})",
                remedy=f"Install the requirements again, or name a folder of your own bars instead of {self.name}.",
            ) from problem


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """The bytes of the sample, read once so that what is fingerprinted is what is used."""

    version: str
    stocks: bytes
    index: bytes

    @property
    def fingerprint(self) -> str:
        files = {STOCKS_FILE: bytes_sha256(self.stocks), INDEX_FILE: bytes_sha256(self.index)}
        return fingerprint({"package": PACKAGE, "version": self.version, "files": files})


def _wide(content: bytes, name: str) -> pl.DataFrame:
    try:
        table = pl.read_csv(io.BytesIO(gzip.decompress(content)), schema_overrides={"Date": pl.Date})
        return table.with_columns(pl.exclude("Date").cast(pl.Float64))
    except (OSError, EOFError, pl.exceptions.PolarsError) as problem:
        raise MalformedSource(
            file=name, problem=f"is not the expected table ({problem})", remedy=f"Install {PACKAGE} again."
        ) from problem


def _long(content: bytes, name: str) -> pl.DataFrame:
    return (
        _wide(content, name)
        .with_row_index("origin_row", offset=2)
        .unpivot(index=["origin_row", "Date"], variable_name="symbol", value_name="adjusted_close")
        .rename({"Date": "date"})
        .with_columns(origin=pl.lit(name))
        .with_columns(pl.lit(None).alias(column) for column in RAW_SCHEMA if column not in _OWN)
        .select(pl.col(column).cast(dtype) for column, dtype in RAW_SCHEMA.items())
    )


_OWN = frozenset({"symbol", "date", "adjusted_close", "origin", "origin_row"})
