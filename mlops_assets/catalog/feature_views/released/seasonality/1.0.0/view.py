"""Seasonality: where in the week, the month and the year a session lies."""

from pathlib import Path

import polars as pl

from mlops_assets.features.spec import Feature, FeatureView

DAY = pl.col("date")
MONTH = DAY.dt.month()

# Sines of 0, 30, ... 330 degrees, written out: a mathematics library may differ in the last bit between processors.
_H = 0.8660254037844386
SINES = (0.0, 0.5, _H, 1.0, _H, 0.5, 0.0, -0.5, -_H, -1.0, -_H, -0.5)


def _by_month(values: tuple[float, ...]) -> pl.Expr:
    return MONTH.replace_strict(list(range(1, 13)), values, return_dtype=pl.Float64)


def _is_turn_of_month() -> pl.Expr:
    weekday, day = DAY.dt.weekday(), DAY.dt.day()
    days_to_next = pl.when(weekday == 5).then(3).otherwise(1)  # Friday's next weekday is Monday
    days_to_third_before = pl.when(weekday <= 3).then(5).otherwise(3)  # a weekend lies between
    return (day + days_to_next > DAY.dt.days_in_month()) | (day <= days_to_third_before)


VIEW = FeatureView(
    name="seasonality",
    version="1.0.0",
    owner="team:quant",
    description="Seasonality: day of the week, month and turn of the month, from the session's date alone.",
    warm_up_bars=0,
    columns=(
        Feature(
            name="day_of_week",
            type="integer",
            expr=DAY.dt.weekday().cast(pl.Int64),
            minimum=1,
            maximum=7,
            unit="day",
            formula="1 Monday to 7 Sunday (ISO 8601)",
            description="Day of the week.",
        ),
        Feature(
            name="month",
            type="integer",
            expr=MONTH.cast(pl.Int64),
            minimum=1,
            maximum=12,
            unit="month",
            formula="1 January to 12 December (ISO 8601)",
            description="Month of the year.",
        ),
        Feature(
            name="month_sin",
            expr=_by_month(SINES),
            minimum=-1.0,
            maximum=1.0,
            formula="sin(2 pi (month - 1) / 12)",
            description="Place in the year on a circle, so that December lies next to January: the sine.",
        ),
        Feature(
            name="month_cos",
            expr=_by_month(SINES[3:] + SINES[:3]),
            minimum=-1.0,
            maximum=1.0,
            formula="cos(2 pi (month - 1) / 12)",
            description="Place in the year on a circle: the cosine.",
        ),
        Feature(
            name="turn_of_month",
            type="integer",
            expr=_is_turn_of_month().cast(pl.Int64),
            minimum=0,
            maximum=1,
            formula="1 on the last weekday of a month and on its first three (Lakonishok and Smidt 1988)",
            description="Whether the session lies at the turn of a month. Weekdays stand for sessions: a holiday "
            "counts as one, because the bars of later days are not known.",
        ),
    ),
    tags=("calendar",),
    declared_in=Path(__file__),
)
