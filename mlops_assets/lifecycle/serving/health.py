"""How a deployment that serves is doing: requests, errors and latencies by minute, merged over all workers.

Every worker writes its own row for each minute, its latencies as an HdrHistogram; reading adds the histograms up, so
that a percentile is that of all requests and not a mean of percentiles. A value is kept to three significant digits.
How a worker gathers them is in `request_recorder`.
"""

# hdrh carries no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol

import sqlalchemy as sa

from mlops_assets.lifecycle.operations.limits import FEWEST_REQUESTS_FOR_ERRORS, FEWEST_REQUESTS_FOR_P99
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import serving_window

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram

HealthStatus = Literal["healthy", "degraded", "unhealthy"]

SIGNIFICANT_DIGITS = 3
LONGEST_MICROSECONDS = 60_000_000
"""A slower answer counts as one minute."""

KEPT = timedelta(days=30)
"""How long minutes are kept."""

_MS = 1_000.0


class HealthLimits(Protocol):
    """The two limits of a deployment's plan that health is measured against."""

    @property
    def max_error_rate(self) -> float: ...

    @property
    def max_p99_ms(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingHealth:
    """What was asked of a deployment and how it answered. Latencies are of what it answered; None if that is nothing.

    An error is a request that the version itself could not answer. What was asked wrongly, or of a symbol that has no
    features, is a request and no error: it says nothing of the version.
    """

    request_count: int
    error_count: int
    mean_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    last_updated: datetime | None

    @property
    def error_rate(self) -> float | None:
        return self.error_count / self.request_count if self.request_count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one worker saw of a deployment in the minute from `started_at` on."""

    deployment_id: str
    started_at: datetime
    worker: str
    request_count: int
    error_count: int
    latencies: bytes
    updated_at: datetime


def health_status(health: ServingHealth, limits: HealthLimits) -> HealthStatus | None:
    """Judge a deployment by its limits; None if nothing was asked of it.

    Unhealthy: more errors than `max_error_rate`, or a p99 above `max_p99_ms`, of as many requests as a breach of the
    limit needs. Degraded: beyond half of a limit, or beyond it with too few requests to tell.
    """
    rate, count = health.error_rate, health.request_count
    if rate is None:
        return None
    errors, slowness = rate / limits.max_error_rate, (health.p99_ms or 0.0) / limits.max_p99_ms
    if (errors > 1 and count >= FEWEST_REQUESTS_FOR_ERRORS) or (slowness > 1 and count >= FEWEST_REQUESTS_FOR_P99):
        return "unhealthy"
    return "degraded" if max(errors, slowness) > 0.5 else "healthy"


def new_histogram() -> HdrHistogram:
    """Return an empty histogram of microseconds, the same for every worker so that they add up."""
    from hdrh.histogram import HdrHistogram

    return HdrHistogram(1, LONGEST_MICROSECONDS, SIGNIFICANT_DIGITS, b64_wrap=False)


def merged(windows: Iterable[Window]) -> ServingHealth:
    """Add up what workers saw in any minutes of one deployment."""
    from hdrh.histogram import HdrHistogram

    whole, found = new_histogram(), list(windows)
    for one in found:
        whole.add(HdrHistogram.decode(one.latencies, b64_wrap=False))
    is_answered = whole.get_total_count() > 0
    return ServingHealth(
        request_count=sum(one.request_count for one in found),
        error_count=sum(one.error_count for one in found),
        mean_ms=whole.get_mean_value() / _MS if is_answered else None,
        p95_ms=_percentile(whole, 95) / _MS if is_answered else None,
        p99_ms=_percentile(whole, 99) / _MS if is_answered else None,
        last_updated=max((one.updated_at for one in found), default=None),
    )


def _percentile(whole: HdrHistogram, percentile: int) -> float:
    """Return the least value that at least this share does not exceed.

    The library rounds to the nearest rank, below the share where there are few values; so it is asked for that rank.
    """
    count = whole.get_total_count()
    rank = math.ceil(percentile * count / 100)
    return whole.get_value_at_percentile(100 * rank / count)


class HealthStore:
    """Keeps the windows of every worker."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, deployment_id: str, since: datetime | None = None) -> ServingHealth:
        """Return the health of a deployment over the minutes that began at `since` or later."""
        return self.of_each([deployment_id], since)[deployment_id]

    def of_each(self, deployment_ids: Sequence[str], since: datetime | None = None) -> dict[str, ServingHealth]:
        """Return the health of several deployments; see `of`."""
        found: Mapping[str, list[Window]] = {one: [] for one in deployment_ids}
        statement = sa.select(serving_window).where(serving_window.c.deployment_id.in_(deployment_ids))
        if since is not None:
            statement = statement.where(serving_window.c.started_at >= since)
        with self._database.read() as connection:
            for row in connection.execute(statement).mappings():
                found[row["deployment_id"]].append(Window(**row))
        return {one: merged(windows) for one, windows in found.items()}

    def write(self, windows: Sequence[Window]) -> None:
        """Write windows whole, in place of what their worker wrote of them before, and forget minutes long past."""
        with self._database.begin() as connection:
            for one in windows:
                connection.execute(sa.delete(serving_window).where(_is_same_or_over(one)))
            connection.execute(
                sa.insert(serving_window),
                [{name: getattr(one, name) for name in Window.__dataclass_fields__} for one in windows],
            )


def _is_same_or_over(window: Window) -> sa.ColumnElement[bool]:
    column = serving_window.c
    is_same = (column.started_at == window.started_at) & (column.worker == window.worker)
    return (column.deployment_id == window.deployment_id) & (is_same | (column.started_at < window.started_at - KEPT))
