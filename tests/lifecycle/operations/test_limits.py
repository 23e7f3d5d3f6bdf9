"""Limits: kept, passed or not measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.lifecycle.operations.limits import Measured, Standing, breaches, findings, not_measured
from mlops_assets.lifecycle.plans import Limits

LIMITS = Limits(
    max_order_difference=0.3,
    max_drawdown=0.15,
    max_weight=0.2,
    max_orders_a_session=25,
    max_error_rate=0.02,
    max_p99_ms=250.0,
)
WITHIN = Measured(
    requests=1000,
    error_rate=0.02,
    p99_ms=250.0,
    order_difference=0.3,
    drawdown=0.15,
    largest_weight=0.2,
    most_orders_a_session=25,
)


def test_a_value_that_equals_its_limit_keeps_it():
    found = findings(WITHIN, LIMITS)
    assert {one.limit for one in found} == set(Limits.__dataclass_fields__)
    assert {one.standing for one in found} == {Standing.KEPT}
    assert breaches(WITHIN, LIMITS) == []


def test_what_could_not_be_measured_is_never_kept():
    found = findings(Measured(), LIMITS)
    assert {one.standing for one in found} == {Standing.NOT_MEASURED}
    assert set(not_measured(found)) == set(Limits.__dataclass_fields__)
    assert breaches(Measured(), LIMITS) == []
    assert str(found[0]) == "max_order_difference: not measured, allowed 0.3"


@pytest.mark.parametrize(
    ("requests", "measured"),
    [(19, set()), (20, {"max_error_rate"}), (99, {"max_error_rate"}), (100, {"max_error_rate", "max_p99_ms"})],
)
def test_few_requests_measure_nothing(requests: int, measured: set[str]):
    passed = Measured(requests=requests, error_rate=1.0, p99_ms=60_000.0)
    assert {one.limit for one in breaches(passed, LIMITS)} == measured


def test_a_breach_names_limit_value_and_what_was_allowed():
    (found,) = breaches(Measured(drawdown=0.2), LIMITS)
    assert str(found) == "max_drawdown 0.2 > 0.15"


def test_a_value_that_is_no_number_is_a_breach():
    (found,) = breaches(Measured(drawdown=math.nan), LIMITS)
    assert found.limit == "max_drawdown"


amount = st.none() | st.floats(0, 1000)


@given(amount, amount, amount, st.none() | st.integers(0, 1000))
def test_each_limit_is_judged_by_its_own_value_alone(
    difference: float | None, drawdown: float | None, weight: float | None, orders: int | None
):
    measured = Measured(
        order_difference=difference, drawdown=drawdown, largest_weight=weight, most_orders_a_session=orders
    )
    values = {
        "max_order_difference": difference,
        "max_drawdown": drawdown,
        "max_weight": weight,
        "max_orders_a_session": orders,
    }
    expected = {name for name, value in values.items() if value is not None and value > getattr(LIMITS, name)}
    assert {one.limit for one in breaches(measured, LIMITS)} == expected
    assert {name for name, value in values.items() if value is None} <= set(not_measured(findings(measured, LIMITS)))
