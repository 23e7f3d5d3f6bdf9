"""Daily bars from Alpha Vantage: TIME_SERIES_DAILY_ADJUSTED, the product's vendor.

The vendor answers 200 to everything: throttling, a wrong symbol and a daily limit are sentences in the JSON. The key
travels in the query, so it is added below the HTTP client, which logs every address it asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.market_data.rate_limit import CallLimiter
from mlops_assets.market_data.reading import ExchangeHours, read_rows
from mlops_assets.market_data.sources import VALUE_COLUMNS, MalformedSource, Progress, RawBars, SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from tenacity import RetryCallState

BASE_URL = "https://www.alphavantage.co"
CALLS_A_MINUTE = 5
ATTEMPTS = 5
_TIMEOUT_SECONDS = 30.0
_MASK = "***"
_TOO_MANY_REQUESTS = 429
_SERIES = "Time Series (Daily)"
_FIELDS: Mapping[str, str] = {
    "1. open": "open",
    "2. high": "high",
    "3. low": "low",
    "4. close": "close",
    "5. adjusted close": "adjusted_close",
    "6. volume": "volume",
    "7. dividend amount": "dividend_amount",
    "8. split coefficient": "split_coefficient",
}


class AlphaVantage:
    """One call per symbol, at the vendor's pace. A symbol that fails stops the reading: half a universe misleads."""

    name = "alpha_vantage"
    columns = frozenset(VALUE_COLUMNS)
    # The vendor updates daily series some hours after the close; it promises no time.
    publication_lag = timedelta(hours=4)

    def __init__(
        self,
        *,
        api_key: str,
        symbols: Sequence[str],
        index_symbols: Sequence[str] = (),
        base_url: str = BASE_URL,
        calls_a_minute: int = CALLS_A_MINUTE,
        attempts: int = ATTEMPTS,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        proxy: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not api_key.strip():
            raise SourceUnavailable(
                source=self.name,
                problem="there is no API key",
                remedy="Get one at alphavantage.co and put it into the settings, or choose another source.",
            )
        if not symbols:
            raise SourceUnavailable(
                source=self.name, problem="there are no symbols to ask for", remedy="Name some in the settings."
            )
        self.symbols = tuple(dict.fromkeys((*symbols, *index_symbols)))
        self.index_symbols = frozenset(index_symbols)
        self._api_key, self._base_url, self._proxy = api_key, base_url, proxy
        self._attempts, self._timeout_seconds, self._sleep = attempts, timeout_seconds, sleep
        self._calls_a_minute = calls_a_minute
        self._limiter = CallLimiter(calls=calls_a_minute, window_seconds=60.0, monotonic=monotonic, sleep=sleep)

    def __repr__(self) -> str:
        return f"AlphaVantage(symbols={list(self.symbols)}, api_key={_MASK!r})"

    @property
    def description(self) -> str:
        return f"Alpha Vantage daily adjusted bars of {len(self.symbols)} symbols"

    def fingerprint(self) -> str | None:
        return None

    def history_ends(self) -> date | None:
        return None

    def fetch(self, progress: Progress) -> RawBars:
        series: dict[str, Mapping[str, Mapping[str, str]]] = {}
        with self._client() as client:
            for number, symbol in enumerate(self.symbols, start=1):
                series[symbol] = self._series(client, symbol)
                progress(f"read {symbol} ({number} of {len(self.symbols)}): {len(series[symbol]):,} rows")
        rows = pl.concat([_rows(symbol, days) for symbol, days in series.items()])
        return RawBars(rows=rows, fingerprint=fingerprint(series))

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        import httpx

        key, inner = self._api_key, httpx.HTTPTransport(proxy=self._proxy)

        class KeyedTransport(httpx.BaseTransport):
            """Adds the key to the address after the client has logged it."""

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                address = request.url.copy_merge_params({"apikey": key})
                return inner.handle_request(
                    httpx.Request(
                        request.method,
                        address,
                        headers=request.headers,
                        stream=request.stream,
                        extensions=request.extensions,
                    )
                )

            def close(self) -> None:
                inner.close()

        with httpx.Client(base_url=self._base_url, transport=KeyedTransport(), timeout=self._timeout_seconds) as client:
            yield client

    def _series(self, client: httpx.Client, symbol: str) -> Mapping[str, Mapping[str, str]]:
        """Ask until there is an answer, a refusal, or no attempt left."""
        import httpx
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=_pause,
            retry=retry_if_exception_type((_Transient, httpx.TransportError)),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._ask, client, symbol)
        except (_Transient, httpx.TransportError) as problem:
            raise SourceUnavailable(
                source=self.name,
                problem=f"no bars of {symbol} after {self._attempts} attempts: {self._masked(_words(problem))}",
                remedy=(
                    f"Try again later. This program makes at most {self._calls_a_minute} calls a minute: if the vendor "
                    "still says that is too fast, something else calls with the same key."
                ),
            ) from None

    def _ask(self, client: httpx.Client, symbol: str) -> Mapping[str, Mapping[str, str]]:
        """Make one call and tell its answer's kind."""
        self._limiter.wait()
        query = {"function": "TIME_SERIES_DAILY_ADJUSTED", "symbol": symbol, "outputsize": "full", "datatype": "json"}
        response = client.get("/query", params=query)
        if response.status_code == _TOO_MANY_REQUESTS:
            raise _Throttled("HTTP 429")
        if response.is_server_error:
            raise _Transient(f"HTTP {response.status_code}")
        if not response.is_success:
            raise self._refused(symbol, f"HTTP {response.status_code}: {response.text[:200]}")
        return self._answer(symbol, response)

    def _answer(self, symbol: str, response: httpx.Response) -> Mapping[str, Mapping[str, str]]:
        try:
            body: Any = response.json()
        except ValueError as problem:
            raise _malformed(symbol, f"is not JSON ({problem})") from None
        if not isinstance(body, dict):
            raise _malformed(symbol, f"is a JSON {type(body).__name__}, not an object")
        answer = cast("dict[str, Any]", body)
        if "Error Message" in answer:
            raise self._refused(symbol, str(answer["Error Message"]))
        for notice in ("Note", "Information"):
            if notice in answer and _SERIES not in answer:
                self._raise_for_notice(symbol, str(answer[notice]))
        return _days(symbol, answer)

    def _raise_for_notice(self, symbol: str, notice: str) -> None:
        """Tell a pace that is too fast, which waiting mends, from a plan that does not include the answer."""
        words = notice.lower()
        is_the_pace = "per minute" in words or "per second" in words
        if "premium endpoint" in words or ("per day" in words and not is_the_pace):
            raise self._refused(symbol, notice)
        raise _Throttled(notice)

    def _refused(self, symbol: str, problem: str) -> SourceUnavailable:
        return SourceUnavailable(
            source=self.name,
            problem=f"the vendor refused {symbol}: {self._masked(problem)}",
            remedy="Check the symbol, the key and what the plan behind the key includes.",
        )

    def _masked(self, text: str) -> str:
        return text.replace(self._api_key, _MASK)


class _Transient(Exception):
    """An answer that may be better next time."""


class _Throttled(_Transient):
    """The vendor asks for a slower pace."""


def _pause(state: RetryCallState) -> float:
    """Wait 2, 4, 8 ... seconds; a whole minute after throttling, because that is the vendor's window."""
    problem = state.outcome.exception() if state.outcome else None
    return 60.0 if isinstance(problem, _Throttled) else min(2.0**state.attempt_number, 60.0)


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__


def _days(symbol: str, answer: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
    """Return the series by day, or say what is wrong with the answer's shape."""
    days = answer.get(_SERIES)
    if not isinstance(days, dict):
        raise _malformed(symbol, f"has no {_SERIES!r} but {', '.join(map(repr, sorted(answer))) or 'nothing'}")
    for day, fields in cast("dict[str, Any]", days).items():
        if not isinstance(fields, dict):
            raise _malformed(symbol, f"{day} is not an object")
        if missing := [name for name in _FIELDS if name not in fields]:
            raise _malformed(symbol, f"{day} lacks {', '.join(map(repr, missing))}")
    return {
        day: {name: str(fields[theirs]) for theirs, name in _FIELDS.items()}
        for day, fields in cast("dict[str, dict[str, Any]]", days).items()
    }


def _malformed(symbol: str, problem: str) -> MalformedSource:
    return MalformedSource(
        file=f"alpha_vantage/{symbol}",
        problem=f"the answer {problem}",
        remedy="The vendor may have changed its format, or a proxy answered in its place.",
    )


def _rows(symbol: str, days: Mapping[str, Mapping[str, str]]) -> pl.DataFrame:
    ordered = sorted(days)
    fields = {
        "symbol": pl.Series([symbol] * len(ordered), dtype=pl.String),
        "date": pl.Series(ordered, dtype=pl.String),
        **{name: pl.Series([days[day][name] for day in ordered], dtype=pl.String) for name in VALUE_COLUMNS},
    }
    return read_rows(
        fields, origin=f"alpha_vantage/{symbol}", origin_rows=range(1, len(ordered) + 1), hours=ExchangeHours()
    )
