"""Why a row of a source is set aside: the reasons, and the table where such rows wait to be read by a person."""

from __future__ import annotations

from enum import StrEnum

from mlops_assets.kernel.columns import Column


class Reason(StrEnum):
    """One cause. A row that breaks several rules carries the first, in this order."""

    NAIVE_TIMESTAMP = "naive_timestamp"
    AMBIGUOUS_TIMESTAMP = "ambiguous_timestamp"
    UNREADABLE_VALUE = "unreadable_value"
    MISSING_KEY = "missing_key"
    FUTURE_DATE = "future_date"
    NOT_A_SESSION = "not_a_session"
    MISSING_VALUE = "missing_value"
    NOT_FINITE = "not_finite"
    NOT_POSITIVE = "not_positive"
    HIGH_BELOW_LOW = "high_below_low"
    OUTSIDE_HIGH_LOW = "outside_high_low"
    NEGATIVE_VOLUME = "negative_volume"
    INVALID_DIVIDEND = "invalid_dividend"
    INVALID_SPLIT = "invalid_split"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"


class Suspicion(StrEnum):
    """Something odd in an accepted row: counted and shown, never changed."""

    UNEXPLAINED_JUMP = "unexplained_jump"
    IMPLAUSIBLE_SPLIT = "implausible_split"
    SPLIT_WITHOUT_PRICE_MOVE = "split_without_price_move"


QUARANTINE_COLUMNS: tuple[Column, ...] = (
    Column(name="reason", type="string", description="The first rule that the row breaks."),
    Column(name="detail", type="string", description="What was found, in words."),
    Column(name="origin", type="string", description="File or call that the row came from."),
    Column(name="origin_row", type="integer", description="Row in its origin; the header of a file is row 1."),
    Column(name="symbol", type="string", description="Ticker as read.", is_nullable=True),
    Column(name="date", type="date", description="Trading day as read.", is_nullable=True),
    Column(name="open", type="float", description="Opening price as read.", is_nullable=True),
    Column(name="high", type="float", description="Highest price as read.", is_nullable=True),
    Column(name="low", type="float", description="Lowest price as read.", is_nullable=True),
    Column(name="close", type="float", description="Closing price as read.", is_nullable=True),
    Column(name="adjusted_close", type="float", description="Adjusted close as read.", is_nullable=True),
    Column(name="volume", type="integer", description="Shares traded as read.", is_nullable=True),
    Column(name="dividend_amount", type="float", description="Dividend as read.", is_nullable=True),
    Column(name="split_coefficient", type="float", description="Split coefficient as read.", is_nullable=True),
)
