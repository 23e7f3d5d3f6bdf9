"""Hand-made sentences: each true one has false twins with one error injected."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.prompts.facts import Facts, Verdict, check_numbers, readable
from mlops_assets.prompts.quantity import quantities_in
from tests.prompts.examples import FACTS, StoredKpi

SUPPORTED, CONTRADICTED, UNSUPPORTED = Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.UNSUPPORTED
RETURN = "crash.sma_crossover.total_return"
HOLD = "crash.buy_and_hold.total_return"


def verdicts(text: str) -> list[Verdict]:
    return [claim.verdict for claim in check_numbers(text, FACTS)]


@pytest.mark.parametrize(
    "text",
    [
        f"It returned [[{RETURN}|12.3%]].",
        f"It returned [[{RETURN}|12.35%]].",
        f"It returned [[{RETURN}|12.345 percent]].",
        f"It returned [[{RETURN}|0.12]].",
        f"It returned [[{RETURN}|1,235bp]].",
        f"총수익률은 [[{RETURN}|12.3%]]였습니다.",
        f"총수익률은 [[ {RETURN} | 12.3퍼센트 ]]였습니다.",
        f"The gap is [[{RETURN} - {HOLD}|-3.3%p]].",
        f"기준과의 차이는 [[{RETURN} - {HOLD}|-3.3%포인트]]입니다.",
        f"The gap is [[{RETURN} - {HOLD}|-332bp]].",
        "The Sharpe ratio is [[crash.sma_crossover.sharpe_ratio|0.87]].",
        "It made [[crash.sma_crossover.trades|123 trades]] or [[crash.sma_crossover.trades|123회]].",
        "It earned [[crash.sma_crossover.profit|$123 million]], [[crash.sma_crossover.profit|1억 2,346만 달러]].",
        "It began on [[crash.start|2020-01-02]] and ended in [[crash.end|December 2020]].",
        "[[crash.start|2020년 1월 2일]]부터 [[crash.end|2020년 12월]]까지입니다.",
    ],
)
def test_an_anchored_number_that_prints_the_stored_value_is_supported(text: str):
    assert set(verdicts(text)) == {SUPPORTED}


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (f"[[{RETURN}|-12.3%]]", CONTRADICTED),  # sign
        (f"[[{RETURN}|123%]]", CONTRADICTED),  # magnitude
        (f"[[{RETURN}|12.4%]]", CONTRADICTED),  # last digit
        (f"[[{RETURN}|12.3%p]]", CONTRADICTED),  # a share is not a difference
        (f"[[{RETURN}|12.3 USD]]", CONTRADICTED),  # unit
        (f"[[{RETURN}|12.3bp]]", CONTRADICTED),  # unit
        (f"[[{HOLD}|12.3%]]", CONTRADICTED),  # swapped strategy
        (f"[[{RETURN} - {HOLD}|-3.3%]]", CONTRADICTED),  # a difference is not a share
        (f"[[{HOLD} - {RETURN}|-3.3%p]]", CONTRADICTED),  # swapped operands
        (f"[[{RETURN}|about 12.3%]]", CONTRADICTED),  # more than a number
        (f"[[{RETURN}|]]", UNSUPPORTED),  # broken
        (f"It was [[{RETURN}|99%", UNSUPPORTED),  # broken
        ("[[crash.sma_crossover.total_retrun|12.3%]]", UNSUPPORTED),  # invented
        ("[[crash.sma_crossover.sharpe_ratio - crash.sma_crossover.total_return|0.75]]", UNSUPPORTED),  # mixed units
        ("[[crash.sma_crossover.profit|1억 2,446만 달러]]", CONTRADICTED),  # magnitude
        ("[[crash.sma_crossover.profit|123만 달러]]", CONTRADICTED),  # 만 for 억
        ("[[crash.start|2020-01-03]]", CONTRADICTED),  # day
        ("[[crash.end|2021년 12월]]", CONTRADICTED),  # year
    ],
)
def test_an_anchored_number_with_an_error_is_not_supported(text: str, verdict: Verdict):
    assert verdict in verdicts(text)
    assert SUPPORTED not in verdicts(text)


@pytest.mark.parametrize(
    "text",
    [
        "The SMA crossover had a total return of 12.3%.",
        "A 12.3% total return was reached by the SMA crossover.",
        "The total return was 12.3% for the SMA crossover and 15.7% for the baseline.",
        "The strategy suffered a maximum drawdown of 25.0%.",
        "The Sharpe ratio of buy and hold was 0.66.",
        "이동평균 교차 전략의 총수익률은 12.3%이고 매수 후 보유는 15.7%였습니다.",
        "매수 후 보유의 최대 낙폭은 -33.2%입니다.",
        "이동평균 교차 전략의 샤프 비율은 0.87입니다.",
        "The period runs from 2020-01-02 to 2020-12-31.",
        "기간은 2020년 1월 2일부터 2020년 12월 31일까지입니다.",
        "It was a hard spring in March 2020.",
        "The gap in total return is 3.3 percentage points.",
    ],
)
def test_a_free_number_that_matches_the_kpi_it_speaks_of_is_supported(text: str):
    assert set(verdicts(text)) == {SUPPORTED}


@pytest.mark.parametrize(
    "text",
    [
        "The SMA crossover had a total return of -12.3%.",  # sign
        "The SMA crossover lost 12.3% in total return.",  # sign in words
        "The SMA crossover had a total return of 1.23%.",  # magnitude
        "The SMA crossover had a total return of 15.7%.",  # swapped strategy
        "The Sharpe ratio of the strategy was 0.66.",  # swapped strategy
        "The Sharpe ratio of the strategy was 12.3%.",  # swapped metric
        "The volatility of the strategy was 12.3%.",  # a metric that is not stored
        "이동평균 교차 전략의 총수익률은 15.7%입니다.",
        "이동평균 교차 전략의 총수익률은 12.3% 하락했습니다.",
        "매수 후 보유의 최대 낙폭은 -25.0%입니다.",
        "The period ended on 2021-12-31.",
        "기간은 2019년입니다.",
        "It will gain 40% next year.",
        "내년에는 40% 오를 것입니다.",
        "Rates moved by 75bp.",
        "The gap in total return is 9.9 percentage points.",
        "Analysts expect GDP to grow 12.3% next year.",  # no metric: any KPI could happen to equal it
        "The SMA crossover will be adopted by 12.3% of desks.",  # no metric
        "Total returns of 12.3% are common.",  # two strategies have that metric, and neither is named
        "Rates rose by 3.3 percentage points.",  # equals a difference of returns
        "내년 국내총생산은 12.3% 성장할 전망입니다.",
        "총수익률은 12.3%입니다.",
    ],
)
def test_a_free_number_that_is_wrong_or_invented_is_not_supported(text: str):
    found = verdicts(text)
    assert found
    assert SUPPORTED not in found


def test_a_metric_that_one_strategy_has_needs_no_name_of_it():
    assert verdicts("The win rate was 55%.") == [SUPPORTED]
    assert verdicts("A win of 55% was expected.") == [UNSUPPORTED]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The total return of plan_a led that of plan_b by 2 percentage points.", SUPPORTED),
        ("The total return of plan_a led by 2 percentage points.", UNSUPPORTED),  # over which one
        ("The gap in total return is 2 percentage points.", UNSUPPORTED),
    ],
)
def test_among_several_a_difference_names_both_strategies(text: str, verdict: Verdict):
    values = {"plan_a": 0.05, "plan_b": 0.03, "plan_c": 0.01}
    kpis = {f"s.{name}.total_return": StoredKpi(value, "fraction") for name, value in values.items()}
    facts = Facts(report_sha256="b" * 64, kpis=kpis)
    assert [claim.verdict for claim in check_numbers(text, facts)] == [verdict]


def test_numbers_that_belong_to_a_name_are_no_claims():
    assert verdicts("The S&P 500 fell; the 95% VaR is in the report, and so is sma_20.") == []


def test_a_claim_carries_the_stored_value_and_the_report():
    (claim,) = check_numbers(f"It returned [[{RETURN}|12.4%]].", FACTS, where="en/plain/summary")
    assert (claim.key, claim.stored, claim.report_sha256) == (RETURN, 0.12345, "a" * 64)
    assert (claim.where, claim.printed) == ("en/plain/summary", "12.4%")
    assert "0.12345" in claim.reason


def test_a_reader_sees_the_number_and_not_the_anchor():
    assert readable(f"It returned [[{RETURN}|12.3%]].") == "It returned 12.3%."


@given(
    value=st.floats(min_value=-5, max_value=5, allow_nan=False).map(lambda value: round(value, 12)),
    places=st.integers(min_value=0, max_value=4),
)
def test_a_value_is_supported_as_python_prints_it_and_contradicted_two_units_off(value: float, places: int):
    facts = Facts(report_sha256="b" * 64, kpis={"a.b.c": StoredKpi(value, "fraction")})
    printed = f"{Decimal(repr(value)) * 100:.{places}f}"
    off = Decimal(printed) + 2 * Decimal(10) ** -places
    assert [claim.verdict for claim in check_numbers(f"[[a.b.c|{printed}%]]", facts)] == [SUPPORTED]
    assert [claim.verdict for claim in check_numbers(f"[[a.b.c|{off}%]]", facts)] == [CONTRADICTED]


@given(st.text(alphabet="0123456789.,-+%억만 $bp[]|ab가", max_size=60))
def test_no_text_stops_the_checker(text: str):
    for claim in check_numbers(text, FACTS):
        assert 0 <= claim.start < claim.end <= len(text)


def test_korean_units_of_money_add_up():
    (quantity,) = quantities_in("1억 2,345만 달러")
    assert (quantity.value, quantity.half_unit, quantity.unit) == (Decimal(123_450_000), Decimal(5_000), "USD")


@pytest.mark.parametrize(
    "piece", ["1,", "1", "[[", "a", " ", "1억", "-", "2020년 ", "SMA crossover 1% return ", "[[a|"]
)
def test_time_grows_with_the_length_of_a_text_and_not_with_its_square(piece: str):
    text = (piece * 100_000)[:100_000]
    started = time.process_time()
    check_numbers(text, FACTS)
    assert time.process_time() - started < 10.0
