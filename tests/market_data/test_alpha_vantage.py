import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from mlops_assets.market_data.alpha_vantage import AlphaVantage
from mlops_assets.market_data.sources import VALUE_COLUMNS, MalformedSource, SourceUnavailable
from tests.market_data.test_rate_limit import FakeTime

KEY = "S3CRETKEY"

# Shapes as the vendor's documentation and its live answers show them.
BAR = {
    "1. open": "131.2300",
    "2. high": "132.0000",
    "3. low": "130.5000",
    "4. close": "131.9400",
    "5. adjusted close": "128.1177",
    "6. volume": "3453467",
    "7. dividend amount": "0.0000",
    "8. split coefficient": "1.0",
}
SUCCESS = {
    "Meta Data": {
        "1. Information": "Daily Time Series with Splits and Dividend Events",
        "2. Symbol": "IBM",
        "3. Last Refreshed": "2024-05-02",
        "4. Output Size": "Full size",
        "5. Time Zone": "US/Eastern",
    },
    "Time Series (Daily)": {"2024-05-02": BAR, "2024-05-01": BAR | {"4. close": "131.5000"}},
}
THROTTLED = {
    "Note": "Thank you for using Alpha Vantage! Our standard API call frequency is 5 calls per minute and 500 calls "
    "per day. Please visit https://www.alphavantage.co/premium/ to target a higher API call frequency."
}
DAILY_LIMIT = {
    "Information": f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day. "
    "Please subscribe to any of the premium plans to instantly remove all daily rate limits."
}
PREMIUM = {
    "Information": "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any plan."
}
ERROR = {"Error Message": "Invalid API call. Please retry or visit the documentation for TIME_SERIES_DAILY_ADJUSTED."}


def silent(_: str) -> None: ...


class Vendor(HTTPServer):
    """Answers with a list of recorded (status, body), one a call, and remembers the queries."""

    def __init__(self, answers):
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers, self.queries = list(answers), []


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.queries.append({name: one for name, (one,) in parse_qs(urlsplit(self.path).query).items()})
        status, body = self.server.answers.pop(0)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextmanager
def vendor(*answers) -> Iterator[Vendor]:
    with Vendor(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def source(server, *symbols, time=None, **options) -> AlphaVantage:
    time = time or FakeTime()
    return AlphaVantage(
        api_key=KEY,
        symbols=symbols or ("IBM",),
        base_url=f"http://127.0.0.1:{server.server_port}",
        monotonic=time.monotonic,
        sleep=time.sleep,
        **options,
    )


def test_an_answer_becomes_rows_in_the_order_of_days():
    with vendor((200, SUCCESS)) as server:
        read = source(server).fetch(silent)
    assert read.rows["date"].to_list() == [date(2024, 5, 1), date(2024, 5, 2)]
    assert read.rows["close"].to_list() == [131.5, 131.94]
    assert read.rows["volume"].to_list() == [3453467, 3453467]
    assert read.rows["origin"].unique().to_list() == ["alpha_vantage/IBM"]
    assert read.rows.select(VALUE_COLUMNS).null_count().sum_horizontal().item() == 0
    assert server.queries == [
        {
            "function": "TIME_SERIES_DAILY_ADJUSTED",
            "symbol": "IBM",
            "outputsize": "full",
            "datatype": "json",
            "apikey": KEY,
        }
    ]


def test_the_fingerprint_is_known_by_the_content_only_after_the_call():
    with vendor(
        (200, SUCCESS), (200, SUCCESS), (200, SUCCESS | {"Time Series (Daily)": {"2024-05-01": BAR}})
    ) as server:
        vantage = source(server)
        assert vantage.fingerprint() is None
        first, second, third = (vantage.fetch(silent).fingerprint for _ in range(3))
    assert first == second != third


def test_throttling_waits_a_minute_and_asks_again():
    time = FakeTime()
    with vendor((200, THROTTLED), (429, b""), (200, SUCCESS)) as server:
        assert source(server, time=time).fetch(silent).rows.height == 2
    assert time.slept == [60.0, 60.0]


def test_server_errors_are_asked_again_with_growing_pauses():
    time = FakeTime()
    with vendor((500, b"oops"), (503, b""), (200, SUCCESS)) as server:
        assert source(server, time=time).fetch(silent).rows.height == 2
    assert time.slept == [2.0, 4.0]


def test_the_client_gives_up_after_its_attempts_and_says_what_it_heard():
    time = FakeTime()
    with vendor(*[(500, b"")] * 3) as server, pytest.raises(SourceUnavailable) as caught:
        source(server, time=time, attempts=3).fetch(silent)
    assert "no bars of IBM after 3 attempts: HTTP 500" in str(caught.value)
    assert "setting" not in caught.value.remedy  # none sets the pace
    assert "at most 5 calls a minute" in caught.value.remedy
    assert len(server.queries) == 3


def test_a_vendor_that_does_not_answer_at_all_is_unavailable():
    with vendor() as server:
        vantage = source(server, attempts=2)
    with pytest.raises(SourceUnavailable, match="after 2 attempts"):
        vantage.fetch(silent)


@pytest.mark.parametrize("answer", [(200, ERROR), (200, PREMIUM), (200, DAILY_LIMIT), (403, b"forbidden S3CRETKEY")])
def test_a_refusal_is_final_and_never_shows_the_key(answer):
    with vendor(answer) as server, pytest.raises(SourceUnavailable, match="the vendor refused IBM") as caught:
        source(server).fetch(silent)
    assert KEY not in str(caught.value)
    assert len(server.queries) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>proxy</html>", "is not JSON"),
        ([], "is a JSON list"),
        ({}, "has no 'Time Series (Daily)' but nothing"),
        ({"Time Series (Daily)": {"2024-05-01": "x"}}, "2024-05-01 is not an object"),
        ({"Time Series (Daily)": {"2024-05-01": {"1. open": "1"}}}, "2024-05-01 lacks '2. high'"),
    ],
)
def test_an_answer_of_another_shape_is_malformed(body, words):
    with vendor((200, body)) as server, pytest.raises(MalformedSource) as caught:
        source(server).fetch(silent)
    assert words in str(caught.value)


def test_a_value_that_is_no_number_marks_its_row_only():
    answer = {"Time Series (Daily)": {"2024-05-01": BAR, "2024-05-02": BAR | {"4. close": "None"}}}
    with vendor((200, answer)) as server:
        rows = source(server).fetch(silent).rows
    assert rows["problem"].to_list() == [None, "unreadable_value"]


def test_calls_keep_the_vendors_pace():
    time = FakeTime()
    symbols = [f"S{number}" for number in range(7)]
    with vendor(*[(200, SUCCESS)] * 7) as server:
        rows = source(server, *symbols, time=time).fetch(silent).rows
    assert rows["symbol"].unique(maintain_order=True).to_list() == symbols
    assert time.slept == [60.0]


def test_the_index_is_asked_for_too_and_only_once():
    with vendor(*[(200, SUCCESS)] * 2) as server:
        vantage = source(server, "IBM", "SPY", index_symbols=["SPY"])
        vantage.fetch(silent)
    assert [query["symbol"] for query in server.queries] == ["IBM", "SPY"]
    assert vantage.index_symbols == {"SPY"}


def test_one_symbol_that_fails_stops_the_reading():
    with vendor((200, SUCCESS), (200, ERROR)) as server, pytest.raises(SourceUnavailable, match="refused NOPE"):
        source(server, "IBM", "NOPE").fetch(silent)


def test_the_key_is_in_no_log_and_in_no_representation(caplog):
    caplog.set_level(logging.DEBUG)
    with vendor((500, b""), (200, SUCCESS)) as server:
        vantage = source(server)
        vantage.fetch(silent)
    assert "HTTP Request: GET" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(vantage)


def test_a_source_without_key_or_symbols_says_so():
    with pytest.raises(SourceUnavailable, match="no API key"):
        AlphaVantage(api_key=" ", symbols=["IBM"])
    with pytest.raises(SourceUnavailable, match="no symbols"):
        AlphaVantage(api_key=KEY, symbols=[])
