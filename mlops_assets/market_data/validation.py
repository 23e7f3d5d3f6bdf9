"""Which rows are bars: pure rules over raw rows. Every row is accepted, set aside with its reason, or an exact repeat.

Rules judge; they never mend. What is odd but possible (a jump, a gap) is reported and kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import log
from typing import ClassVar

import polars as pl

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.market_data.quarantine import QUARANTINE_COLUMNS, Reason, Suspicion
from mlops_assets.market_data.sources import PRICE_COLUMNS, VALUE_COLUMNS

KEY = ("symbol", "date")
CONTENT = (*KEY, *VALUE_COLUMNS, "problem", "problem_detail")

# Vendors round each price by itself, so a close may exceed its high by the last digit.
ROUNDING = 1e-6
# A day that doubles or halves an adjusted price is news or a missed split; either way somebody should look.
JUMP_LIMIT = log(2.0)
PLAUSIBLE_SPLITS = (0.01, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What became of the rows: `accepted` + `quarantined` + `identical_duplicates` == `row_count`."""

    row_count: int
    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    identical_duplicates: int
    gaps: pl.DataFrame
    suspicions: pl.DataFrame

    def __post_init__(self) -> None:
        kept = self.accepted.height + self.quarantined.height + self.identical_duplicates
        if kept != self.row_count:
            raise ValueError(f"{self.row_count} rows were read and {kept} are accounted for")

    @property
    def reasons(self) -> dict[str, int]:
        """Count the quarantined rows per reason, most frequent first."""
        counts = self.quarantined.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        return dict(counts.iter_rows())

    @property
    def quarantined_share(self) -> float:
        return self.quarantined.height / self.row_count if self.row_count else 0.0


class SourceOverErrorBudget(PlatformError):
    """So many rows are bad that the rest can't be trusted either."""

    code: ClassVar[str] = "source_over_error_budget"

    def __init__(self, *, source: str, validation: Validation, budget: ErrorBudget, top: int = 3) -> None:
        self.source, self.reasons = source, validation.reasons
        causes = [
            f"{reason} ({count:,} rows; first: {_example(validation.quarantined, reason)})"
            for reason, count in list(self.reasons.items())[:top]
        ]
        super().__init__(
            f"source {source}: {validation.quarantined.height:,} of {validation.row_count:,} rows "
            f"({validation.quarantined_share:.2%}) can't be used, and the budget is {budget.max_share:.2%} or "
            f"{budget.max_count:,} rows. Most frequent: {'; '.join(causes)}. "
            "Read the rows in the dataset market/quarantine, mend the source, and run again."
        )


class SourceIsEmpty(PlatformError):
    """A source has no rows at all."""

    code: ClassVar[str] = "source_is_empty"

    def __init__(self, *, source: str) -> None:
        self.source = source
        super().__init__(f"source {source} has no rows. Put bars there, or choose another source.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """How many rows may be set aside before the whole source is refused; either limit is enough."""

    max_share: float = 0.01
    max_count: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.max_share <= 1 or self.max_count < 0:
            raise ValueError(f"a budget is a share in [0, 1] and a count of at least 0, got {self}")

    def is_exceeded_by(self, validation: Validation) -> bool:
        return validation.quarantined.height > self.max_count or validation.quarantined_share > self.max_share

    def enforce(self, validation: Validation, *, source: str) -> None:
        """Refuse a source with no rows, or with too many bad ones.

        Raises:
            SourceIsEmpty: there is nothing to validate.
            SourceOverErrorBudget: a limit is exceeded.
        """
        if validation.row_count == 0:
            raise SourceIsEmpty(source=source)
        if self.is_exceeded_by(validation):
            raise SourceOverErrorBudget(source=source, validation=validation, budget=self)


def validate(rows: pl.DataFrame, *, schedule: pl.DataFrame, required: Collection[str], as_of: datetime) -> Validation:
    """Judge raw rows.

    `schedule` holds the sessions (`date`, `close_at`) from the first row to the day of `as_of`; `required` names the
    value columns that may not be null; `as_of` is the clock of the run: a session still open has no bar yet.
    """
    distinct = rows.unique(subset=CONTENT, keep="first", maintain_order=True)
    judged = _judged(distinct.join(schedule, on="date", how="left", maintain_order="left"), required, as_of)
    accepted = judged.filter(pl.col("reason").is_null()).select(*KEY, *VALUE_COLUMNS).sort(KEY)
    quarantined = judged.filter(pl.col("reason").is_not_null()).select(column.name for column in QUARANTINE_COLUMNS)
    return Validation(
        row_count=rows.height,
        accepted=accepted,
        quarantined=quarantined.sort("origin", "origin_row", "symbol", maintain_order=True),
        identical_duplicates=rows.height - distinct.height,
        gaps=find_gaps(accepted, schedule),
        suspicions=find_suspicions(accepted),
    )


def find_gaps(bars: pl.DataFrame, schedule: pl.DataFrame) -> pl.DataFrame:
    """Return the (symbol, date) that a symbol lacks between its own first and last bar."""
    spans = bars.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max())
    expected = spans.join(schedule.select("date"), how="cross").filter(pl.col("date").is_between("first", "last"))
    return expected.select(KEY).join(bars.select(KEY), on=KEY, how="anti").sort(KEY)


def find_suspicions(bars: pl.DataFrame) -> pl.DataFrame:
    """Return odd but possible rows as (symbol, date, suspicion, detail); `bars` is sorted by symbol and date."""

    def before(column: str) -> pl.Expr:
        return pl.col(column).shift(1).over("symbol")

    split = pl.col("split_coefficient").fill_null(1.0)
    jump = (pl.col("adjusted_close") / before("adjusted_close")).log().abs()
    unmoved = (pl.col("close") * split / before("close")).log().abs()
    checks: Mapping[Suspicion, tuple[pl.Expr, pl.Expr]] = {
        Suspicion.UNEXPLAINED_JUMP: (
            jump > JUMP_LIMIT,
            pl.format("adjusted_close {} after {}", "adjusted_close", before("adjusted_close")),
        ),
        Suspicion.IMPLAUSIBLE_SPLIT: (
            ~split.is_between(*PLAUSIBLE_SPLITS),
            pl.format("split_coefficient {}", "split_coefficient"),
        ),
        Suspicion.SPLIT_WITHOUT_PRICE_MOVE: (
            (split != 1.0) & (unmoved > split.log().abs() / 2),
            pl.format("split_coefficient {}, close {} after {}", "split_coefficient", "close", before("close")),
        ),
    }
    found = [
        bars.with_columns(is_odd=is_odd, detail=detail)
        .filter("is_odd")
        .select(*KEY, pl.lit(suspicion.value).alias("suspicion"), "detail")
        for suspicion, (is_odd, detail) in checks.items()
    ]
    return pl.concat(found).sort(*KEY, "suspicion")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One way for a row to be no bar, and the words for it."""

    reason: Reason
    breaks: pl.Expr
    detail: pl.Expr


def _judged(rows: pl.DataFrame, required: Collection[str], as_of: datetime) -> pl.DataFrame:
    """Add `reason` and `detail`, null for a bar. The order of the rules is the order of `Reason`."""
    rules = [*_day_rules(as_of), *_value_rules(required), _conflict_rule()]
    reason = [pl.when(rule.breaks).then(pl.lit(rule.reason.value)) for rule in rules]
    detail = [pl.when(rule.breaks).then(rule.detail) for rule in rules]
    return rows.with_columns(
        reason=pl.coalesce("problem", *reason),
        detail=pl.coalesce(pl.when(pl.col("problem").is_not_null()).then("problem_detail"), *detail),
    )


def _day_rules(as_of: datetime) -> list[_Rule]:
    day, close_at = pl.col("date"), pl.col("close_at")
    return [
        _Rule(
            reason=Reason.MISSING_KEY,
            breaks=pl.col("symbol").is_null() | day.is_null(),
            detail=pl.format("symbol {}, date {}", pl.col("symbol").fill_null("missing"), _text(day)),
        ),
        _Rule(
            reason=Reason.FUTURE_DATE,
            breaks=(close_at > as_of) | (day > as_of.date()),
            detail=pl.format("the session of {} had not closed at {}", _text(day), pl.lit(as_of.isoformat())),
        ),
        _Rule(
            reason=Reason.NOT_A_SESSION,
            breaks=close_at.is_null(),
            detail=pl.format("the exchange does not trade on {}", _text(day)),
        ),
    ]


def _value_rules(required: Collection[str]) -> list[_Rule]:
    needed = [name for name in VALUE_COLUMNS if name in required]
    high, low = pl.col("high"), pl.col("low")
    dividend, split = pl.col("dividend_amount"), pl.col("split_coefficient")
    ceiling, floor = high * (1 + ROUNDING), low * (1 - ROUNDING)
    return [
        *(_rule(Reason.MISSING_VALUE, pl.col(name).is_null(), name) for name in needed),
        *(_rule(Reason.NOT_FINITE, ~pl.col(name).is_finite(), name) for name in PRICE_COLUMNS),
        *(_rule(Reason.NOT_POSITIVE, pl.col(name) <= 0, name) for name in PRICE_COLUMNS),
        _rule(Reason.HIGH_BELOW_LOW, high < low, "high", "low"),
        *(
            _rule(Reason.OUTSIDE_HIGH_LOW, (pl.col(name) > ceiling) | (pl.col(name) < floor), name, "low", "high")
            for name in ("open", "close")
        ),
        _rule(Reason.NEGATIVE_VOLUME, pl.col("volume") < 0, "volume"),
        _rule(Reason.INVALID_DIVIDEND, ~dividend.is_finite() | (dividend < 0), "dividend_amount"),
        _rule(Reason.INVALID_SPLIT, ~split.is_finite() | (split <= 0), "split_coefficient"),
    ]


def _conflict_rule() -> _Rule:
    """Set aside all rows of a key that a source gives twice with different content: none of them can be believed."""
    return _Rule(
        reason=Reason.CONFLICTING_DUPLICATE,
        breaks=(pl.len().over(KEY) > 1) & pl.col("symbol").is_not_null() & pl.col("date").is_not_null(),
        detail=pl.format("{} different rows for {} on {}", pl.len().over(KEY), pl.col("symbol"), _text(pl.col("date"))),
    )


def _rule(reason: Reason, breaks: pl.Expr, *shown: str) -> _Rule:
    values = [pl.col(name).cast(pl.String).fill_null("missing") for name in shown]
    return _Rule(reason=reason, breaks=breaks, detail=pl.format(", ".join(f"{name} {{}}" for name in shown), *values))


def _text(day: pl.Expr) -> pl.Expr:
    return day.cast(pl.String).fill_null("missing")


def _example(quarantined: pl.DataFrame, reason: str) -> str:
    first = quarantined.filter(pl.col("reason") == reason).row(0, named=True)
    return f"{first['origin']} row {first['origin_row']}: {first['detail']}"
