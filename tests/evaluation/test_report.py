import json
import re
import subprocess
import sys

import pytest

from mlops_assets.evaluation.metrics import METRICS, RELATIVE_METRICS
from mlops_assets.evaluation.page import measure, render
from mlops_assets.evaluation.report import build_record, kpis_of, seal
from mlops_assets.kernel.fingerprint import bytes_sha256
from tests.evaluation.reports import EXPLAINED, SCENARIO, contenders


@pytest.fixture(scope="module")
def record() -> dict:
    return build_record(SCENARIO, contenders(), [EXPLAINED])


@pytest.fixture(scope="module")
def html(record) -> str:
    return render(record, SCENARIO, contenders(), [EXPLAINED]).decode()


def test_the_record_holds_every_metric_of_every_strategy(record):
    alone, relative = {one.name for one in METRICS}, {one.name for one in RELATIVE_METRICS}
    assert set(record["results"]["sma_crossover"]["metrics"]) == alone | relative
    assert set(record["results"]["buy_and_hold"]["metrics"]) == alone


def test_a_metric_that_is_not_defined_is_null_and_has_no_kpi(record):
    assert record["results"]["buy_and_hold"]["metrics"]["win_rate"] == {"value": None, "unit": "fraction"}
    keys = {kpi.key: kpi for kpi in kpis_of(record)}
    assert "january.buy_and_hold.win_rate" not in keys
    assert keys["january.sma_crossover.trades"].value == 2.0
    assert keys["january.sma_crossover.maximum_drawdown"].unit == "fraction"


def test_gates_name_every_breach(record):
    assert [(gate["metric"], gate["is_passed"]) for gate in record["gates"]] == [
        ("total_return", record["results"]["sma_crossover"]["metrics"]["total_return"]["value"] >= 0),
        ("win_rate", record["results"]["sma_crossover"]["metrics"]["win_rate"]["value"] >= 0.5),
    ]


def test_stress_is_measured_inside_the_event(record):
    result = contenders()[0].result
    expected = result.equity[4] / result.equity[1] - 1
    assert record["results"]["buy_and_hold"]["stress"]["Fall <b>"]["total_return"] == pytest.approx(expected)


def test_the_seal_is_the_hash_of_the_canonical_record(record):
    sealed = seal(record, b"<html>")
    assert sealed.sha256 == bytes_sha256(sealed.record)
    assert json.loads(sealed.record)["name"] == "january"
    other = build_record(SCENARIO, contenders(last_target=0.3), [EXPLAINED])
    assert seal(other, b"<html>").sha256 != sealed.sha256


def test_nothing_in_the_record_says_when_or_where_it_was_made(record):
    text = seal(record, b"").record.decode()
    assert "/mlops_assets/evaluation/" not in text
    assert not re.search(r"\d{2}:\d{2}:\d{2}", text)


def test_the_page_is_the_same_bytes_in_another_process(html):
    program = (
        "import sys; from tests.evaluation.reports import *; from mlops_assets.evaluation.page import render;"
        "from mlops_assets.evaluation.report import build_record; ones = contenders();"
        "page = render(build_record(SCENARIO, ones, [EXPLAINED]), SCENARIO, ones, [EXPLAINED]);"
        "from mlops_assets.kernel.fingerprint import bytes_sha256; print(bytes_sha256(page))"
    )
    environment = {"PYTHONHASHSEED": "12345", "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == bytes_sha256(html.encode())


def test_the_page_needs_nothing_from_elsewhere(html):
    assert not re.search(r"(?:src|href|srcset)=\"(?!data:image/png)", html)
    assert "@import" not in html
    assert "<script" not in html


def test_the_page_escapes_what_declarations_say(html):
    assert "Fall &lt;b&gt;" in html
    assert "Fall <b>" not in html


def test_the_page_shows_the_seal_every_input_and_every_kpi_key(record, html):
    assert seal(record, b"").sha256 in html
    assert all(name in html and value in html for name, value in record["inputs"].items())
    assert all(kpi.key in html for kpi in kpis_of(record))


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "ratio", "–"),
        (-0.1234, "fraction", "−12.34 %"),
        (-0.001, "ratio", "0.00"),
        (34.0, "count", "34"),
        (1234.5, "USD", "1,234.50"),
    ],
)
def test_numbers_are_written_for_people(value, unit, shown):
    assert measure(value, unit) == shown
