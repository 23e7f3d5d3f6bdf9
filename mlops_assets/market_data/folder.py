"""The user's own bars: a folder of CSV and Parquet files, one per symbol or with a symbol column.

A file that is not a table of bars stops the reading, with file, row, field and remedy. A row that is not a bar is read
as far as possible and left to validation.
"""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from mlops_assets.kernel.errors import MissingColumns
from mlops_assets.kernel.fingerprint import bytes_sha256, file_sha256, fingerprint
from mlops_assets.market_data.csv_table import WrittenTable, read_csv
from mlops_assets.market_data.reading import ExchangeHours, read_rows
from mlops_assets.market_data.sources import (
    VALUE_COLUMNS,
    MalformedSource,
    Progress,
    RawBars,
    SourceUnavailable,
)

SUFFIXES = (".csv", ".parquet")
# Other names that vendors' own exports give the same column.
ALIASES: Mapping[str, str] = {"timestamp": "date", "ticker": "symbol", "adj_close": "adjusted_close"}


class BarFolder:
    """CSV and Parquet files below one folder; which symbols are indexes, and where the history ends, its owner says."""

    name = "folder"

    def __init__(
        self,
        path: Path,
        *,
        index_symbols: Iterable[str] = (),
        publication_lag: timedelta = timedelta(hours=1),
        history_ends: date | None = None,
        hours: ExchangeHours = ExchangeHours(),  # noqa: B008 - a frozen value
    ) -> None:
        self.path = path
        self.index_symbols = frozenset(index_symbols)
        self.publication_lag = publication_lag
        self._history_ends, self._hours = history_ends, hours

    @property
    def description(self) -> str:
        return f"CSV and Parquet files of the folder {self.path.name}"

    @property
    def columns(self) -> frozenset[str]:
        """The value columns that every file has, by their headers."""
        headers = [frozenset(_header(file)) for file in self._files()]
        return frozenset(VALUE_COLUMNS).intersection(*headers)

    def fingerprint(self) -> str | None:
        return self._identity({self._origin(file): file_sha256(file) for file in self._files()})

    def history_ends(self) -> date | None:
        return self._history_ends

    def fetch(self, progress: Progress) -> RawBars:
        files = self._files()
        tables: list[pl.DataFrame] = []
        hashes: dict[str, str] = {}
        for number, file in enumerate(files, start=1):
            origin = self._origin(file)
            content = file.read_bytes()  # once: what is fingerprinted is what is parsed
            hashes[origin] = bytes_sha256(content)
            tables.append(_rows(content, origin, self._hours))
            progress(f"read {origin} ({number} of {len(files)}): {tables[-1].height:,} rows")
        return RawBars(rows=pl.concat(tables), fingerprint=self._identity(hashes))

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            raise SourceUnavailable(
                source=self.name,
                problem=f"{self.path} is not a folder",
                remedy="Name the folder that holds your CSV or Parquet files of daily bars.",
            )
        below = (path for path in self.path.rglob("*") if path.is_file() and path.suffix.lower() in SUFFIXES)
        files = sorted(
            path for path in below if not any(part.startswith(".") for part in Path(self._origin(path)).parts)
        )
        if not files:
            raise SourceUnavailable(
                source=self.name,
                problem=f"{self.path} has no file that ends in {' or '.join(SUFFIXES)}",
                remedy="Put one file per symbol there (AAPL.csv), or files with a symbol column.",
            )
        return files

    def _origin(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix()

    def _identity(self, hashes: Mapping[str, str]) -> str:
        return fingerprint(
            {
                "files": hashes,
                "index_symbols": sorted(self.index_symbols),
                "publication_lag_seconds": int(self.publication_lag.total_seconds()),
            }
        )


def _rows(content: bytes, origin: str, hours: ExchangeHours) -> pl.DataFrame:
    read = _read_parquet(content, origin) if origin.lower().endswith(".parquet") else read_csv(content, origin)
    names = _canonical(read.names, origin)
    if missing := {"date", "adjusted_close"} - set(names):
        raise MissingColumns(asked_by=origin, missing=missing, available=read.names, remedy=_remedy_for(missing))
    columns = dict(zip(names, read.columns, strict=True))
    columns.setdefault("symbol", pl.Series([Path(origin).stem], dtype=pl.String).new_from_index(0, len(read.numbers)))
    fields = {name: columns[name] for name in ("symbol", "date", *VALUE_COLUMNS) if name in columns}
    return read_rows(fields, origin=origin, origin_rows=read.numbers, hours=hours)


def _remedy_for(missing: Iterable[str]) -> str:
    if "adjusted_close" in missing:
        return (
            "Every feature is computed from adjusted prices, and how to adjust is your vendor's knowledge: export the "
            "adjusted close too. If your closes are adjusted already, name that column adjusted_close."
        )
    return "Name the trading day's column date."


def _read_parquet(content: bytes, origin: str) -> WrittenTable:
    try:
        table = pl.read_parquet(io.BytesIO(content))
    except (OSError, pl.exceptions.PolarsError) as problem:
        raise _not_parquet(origin, problem) from problem
    return WrittenTable(names=table.columns, columns=table.get_columns(), numbers=range(1, table.height + 1))


def _not_parquet(origin: str, problem: Exception) -> MalformedSource:
    return MalformedSource(
        file=origin, problem=f"is not a readable Parquet file ({problem})", remedy="Write it again, or remove it."
    )


def _canonical(names: Iterable[str], origin: str) -> list[str]:
    """Return the names of our columns for those of a file, in the file's order."""
    plain = [name.strip().lower().replace(" ", "_") for name in names]
    canonical = [ALIASES.get(name, name) for name in plain]
    if twice := sorted({name for name in canonical if canonical.count(name) > 1}):
        raise MalformedSource(
            file=origin,
            row=1,
            field=twice[0],
            problem=f"two columns mean {twice[0]}",
            remedy="Keep the one that is right.",
        )
    return canonical


def _header(file: Path) -> list[str]:
    """Return the columns of a file without reading its rows."""
    if file.suffix.lower() == ".parquet":
        try:
            return _canonical(pl.read_parquet_schema(file), file.name)
        except (OSError, pl.exceptions.PolarsError) as problem:
            raise _not_parquet(file.name, problem) from problem
    with file.open("rb") as stream:
        first = next((line for line in stream if line.removeprefix(BOM_UTF8).strip(b"\r\n")), b"")
    return _canonical(read_csv(first, file.name).names, file.name)
