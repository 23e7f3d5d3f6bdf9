from datetime import date

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.market_data.checks import no_duplicate_keys, prices_are_valid
from mlops_assets.market_data.sources import RAW_SCHEMA, VALUE_COLUMNS
from mlops_assets.market_data.validation import (
    ErrorBudget,
    SourceIsEmpty,
    SourceOverErrorBudget,
    find_gaps,
    find_suspicions,
    validate,
)
from tests.market_data.rows import AS_OF, GOOD, SCHEDULE, judge, raw

NAN, INFINITY = float("nan"), float("inf")


def test_a_good_row_is_accepted():
    validation = judge({})
    assert (validation.accepted.height, validation.quarantined.height) == (1, 0)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"problem": "naive_timestamp", "problem_detail": "no zone"}, "naive_timestamp", "no zone"),
        ({"problem": "unreadable_value", "problem_detail": "close: 'x'"}, "unreadable_value", "close: 'x'"),
        ({"symbol": None}, "missing_key", "symbol missing, date 2020-01-02"),
        ({"date": None}, "missing_key", "symbol AAA, date missing"),
        ({"date": date(2020, 1, 13)}, "future_date", "2020-01-13 had not closed at 2020-01-10T23:00:00+00:00"),
        ({"date": date(2999, 1, 1)}, "future_date", "2999-01-01"),
        ({"date": date(2020, 1, 4)}, "not_a_session", "does not trade on 2020-01-04"),
        ({"date": date(2020, 1, 1)}, "not_a_session", "2020-01-01"),
        ({"date": date(1, 1, 1)}, "not_a_session", "0001-01-01"),
        ({"adjusted_close": None}, "missing_value", "adjusted_close missing"),
        ({"volume": None}, "missing_value", "volume missing"),
        ({"adjusted_close": NAN}, "not_finite", "adjusted_close NaN"),
        ({"high": INFINITY}, "not_finite", "high inf"),
        ({"low": -INFINITY}, "not_finite", "low -inf"),
        ({"low": 0.0}, "not_positive", "low 0.0"),
        ({"close": -11.0}, "not_positive", "close -11.0"),
        ({"high": 8.0, "low": 9.0}, "high_below_low", "high 8.0, low 9.0"),
        ({"open": 12.5}, "outside_high_low", "open 12.5, low 9.0, high 12.0"),
        ({"close": 8.5}, "outside_high_low", "close 8.5"),
        ({"volume": -1}, "negative_volume", "volume -1"),
        ({"dividend_amount": -0.1}, "invalid_dividend", "dividend_amount -0.1"),
        ({"dividend_amount": NAN}, "invalid_dividend", "dividend_amount NaN"),
        ({"split_coefficient": 0.0}, "invalid_split", "split_coefficient 0.0"),
        ({"split_coefficient": INFINITY}, "invalid_split", "split_coefficient inf"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason_and_its_origin(change, reason, words):
    validation = judge(change, {"date": date(2020, 1, 3)})
    assert validation.accepted["date"].to_list() == [date(2020, 1, 3)]
    assert validation.reasons == {reason: 1}
    row = validation.quarantined.row(0, named=True)
    assert words in row["detail"]
    assert (row["origin"], row["origin_row"]) == ("hand.csv", 2)


def test_a_session_that_is_still_open_has_no_bar_yet():
    noon = AS_OF.replace(hour=17)
    row = raw({"date": AS_OF.date()})
    assert validate(row, schedule=SCHEDULE, required=(), as_of=noon).reasons == {"future_date": 1}
    assert validate(row, schedule=SCHEDULE, required=(), as_of=AS_OF).accepted.height == 1


def test_a_close_above_its_high_by_the_vendors_rounding_is_accepted():
    assert judge({"close": 12.000001}).accepted.height == 1


def test_a_row_that_breaks_several_rules_carries_the_first():
    assert judge({"date": date(2020, 1, 4), "close": NAN}).reasons == {"not_a_session": 1}


def test_an_identical_duplicate_is_dropped_and_counted():
    validation = judge({}, {}, {"origin": "other.csv"})
    assert (validation.accepted.height, validation.identical_duplicates, validation.quarantined.height) == (1, 2, 0)


def test_conflicting_duplicates_are_both_set_aside():
    validation = judge({}, {"close": 11.5}, {"date": date(2020, 1, 3)})
    assert validation.accepted.height == 1
    assert validation.reasons == {"conflicting_duplicate": 2}
    assert validation.quarantined["close"].to_list() == [11.0, 11.5]


def test_a_good_row_is_not_believed_beside_a_bad_one_of_the_same_day():
    assert judge({}, {"close": NAN}).reasons == {"conflicting_duplicate": 1, "not_finite": 1}


def test_rows_without_a_day_do_not_conflict_with_each_other():
    assert judge({"date": None}, {"date": None, "close": 11.5}).reasons == {"missing_key": 2}


def test_a_column_the_source_lacks_may_be_null():
    rows = raw(dict.fromkeys(VALUE_COLUMNS) | {"adjusted_close": 10.0})
    assert validate(rows, schedule=SCHEDULE, required={"adjusted_close"}, as_of=AS_OF).accepted.height == 1


def test_a_gap_is_a_session_between_the_first_and_the_last_bar_of_a_symbol():
    validation = judge(
        {"date": date(2020, 1, 3)},
        {"date": date(2020, 1, 8)},
        {"symbol": "BBB", "date": date(2020, 1, 9)},
    )
    assert validation.gaps.rows() == [("AAA", date(2020, 1, 6)), ("AAA", date(2020, 1, 7))]


def test_a_quarantined_day_is_also_a_gap():
    validation = judge({}, {"date": date(2020, 1, 3), "close": NAN}, {"date": date(2020, 1, 6)})
    assert validation.gaps.rows() == [("AAA", date(2020, 1, 3))]


def test_an_empty_table_has_no_gaps():
    assert find_gaps(judge().accepted, SCHEDULE).is_empty()


@pytest.mark.parametrize(
    ("before", "after", "suspicions"),
    [
        ({}, {"adjusted_close": 10.9}, []),
        ({}, {"adjusted_close": 21.5}, ["unexplained_jump"]),
        ({}, {"adjusted_close": 5.0}, ["unexplained_jump"]),
        ({}, {"split_coefficient": 500.0}, ["implausible_split", "split_without_price_move"]),
        ({}, {"split_coefficient": 2.0}, ["split_without_price_move"]),
        ({"close": 11.0}, {"split_coefficient": 2.0, "open": 5.5, "close": 5.5, "low": 5.0, "high": 6.0}, []),
    ],
)
def test_odd_rows_are_kept_and_reported(before, after, suspicions):
    validation = judge(before, after | {"date": date(2020, 1, 3)})
    assert validation.accepted.height == 2
    assert validation.suspicions["suspicion"].to_list() == suspicions


def test_a_jump_does_not_cross_the_border_between_symbols():
    validation = judge({}, {"symbol": "BBB", "date": date(2020, 1, 3), "adjusted_close": 5000.0})
    assert validation.suspicions.is_empty()


def test_within_the_budget_nothing_happens():
    ErrorBudget(max_share=0.5, max_count=1).enforce(judge({}, {"symbol": "BBB", "close": NAN}), source="hand")


@pytest.mark.parametrize("budget", [ErrorBudget(max_share=0.4), ErrorBudget(max_share=1.0, max_count=1)])
def test_over_the_budget_the_source_is_refused_with_its_main_reasons(budget):
    validation = judge({}, {"symbol": "BBB", "close": NAN}, {"symbol": "CCC", "close": -1.0})
    with pytest.raises(SourceOverErrorBudget) as caught:
        budget.enforce(validation, source="hand")
    assert caught.value.reasons == {"not_finite": 1, "not_positive": 1}
    assert "2 of 3 rows (66.67%)" in str(caught.value)
    assert "not_finite (1 rows; first: hand.csv row 3: close NaN)" in str(caught.value)


def test_a_source_without_rows_is_refused():
    with pytest.raises(SourceIsEmpty):
        ErrorBudget().enforce(judge(), source="hand")


def test_a_budget_outside_its_range_cannot_exist():
    with pytest.raises(ValueError, match="share"):
        ErrorBudget(max_share=1.5)


PRICES = st.sampled_from([None, NAN, INFINITY, -INFINITY, -1.0, -0.0, 0.0, 9.0, 10.0, 11.0, 1e300])
ROWS = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from([None, "AAA", "BBB"]),
        "date": st.sampled_from(
            [None, date(1, 1, 1), date(9999, 12, 31), *(date(2020, 1, day) for day in range(1, 14))]
        ),
        **dict.fromkeys(("open", "high", "low", "close", "adjusted_close"), PRICES),
        "volume": st.sampled_from([None, -1, 0, 1000]),
        "dividend_amount": PRICES,
        "split_coefficient": PRICES,
        "problem": st.sampled_from([None, None, None, "unreadable_value"]),
    }
)
MOSTLY_GOOD = st.fixed_dictionaries(
    {"symbol": st.sampled_from(["AAA", "BBB"]), "date": st.sampled_from([date(2020, 1, day) for day in range(2, 11)])},
    optional={"close": st.sampled_from([9.5, 11.0, NAN])},
)
REQUIRED = st.sets(st.sampled_from(VALUE_COLUMNS)).map(lambda some: some | {"adjusted_close"})


@given(changes=st.lists(ROWS | MOSTLY_GOOD, max_size=40), required=REQUIRED)
def test_every_row_is_accepted_set_aside_or_an_exact_repeat(changes, required):
    rows = raw(*changes)
    validation = validate(rows, schedule=SCHEDULE, required=required, as_of=AS_OF)
    total = validation.accepted.height + validation.quarantined.height + validation.identical_duplicates
    assert total == len(changes)
    assert sum(validation.reasons.values()) == validation.quarantined.height
    assert validation.quarantined["detail"].null_count() <= sum(row.get("problem") is not None for row in changes)
    origin_rows = validation.quarantined["origin_row"].to_list()
    assert len(set(origin_rows)) == len(origin_rows)


@given(changes=st.lists(ROWS | MOSTLY_GOOD, max_size=40))
def test_what_is_accepted_passes_the_stored_tables_own_checks(changes):
    accepted = validate(raw(*changes), schedule=SCHEDULE, required={"adjusted_close"}, as_of=AS_OF).accepted
    assert no_duplicate_keys(accepted).is_passed
    assert prices_are_valid(accepted).is_passed
    assert set(accepted["date"]) <= set(SCHEDULE["date"])


@given(changes=st.lists(ROWS | MOSTLY_GOOD, max_size=30), data=st.data())
def test_the_order_of_the_rows_changes_nothing(changes, data):
    shuffled = data.draw(st.permutations(changes))
    one, other = judge(*changes), judge(*shuffled)
    assert one.accepted.equals(other.accepted)
    assert one.reasons == other.reasons


@given(changes=st.lists(MOSTLY_GOOD, max_size=30))
def test_accepted_rows_are_accepted_again(changes):
    accepted = judge(*changes).accepted
    again = accepted.with_columns(
        pl.lit(None).alias("problem"),
        pl.lit(None).alias("problem_detail"),
        origin=pl.lit("again"),
        origin_row=pl.lit(1),
    ).select(pl.col(name).cast(dtype) for name, dtype in RAW_SCHEMA.items())
    validation = validate(again, schedule=SCHEDULE, required=VALUE_COLUMNS, as_of=AS_OF)
    assert validation.accepted.equals(accepted)
    assert find_suspicions(validation.accepted).equals(judge(*changes).suspicions)


def test_the_fixture_is_a_good_row():
    assert set(GOOD) | {"origin_row", "problem", "problem_detail"} == set(RAW_SCHEMA)
