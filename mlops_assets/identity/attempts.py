"""How often an address may fail to sign in before it has to wait: counted in this process, and forgotten with it."""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict, deque
from datetime import datetime, timedelta
from typing import ClassVar

from mlops_assets.kernel.clock import Clock
from mlops_assets.kernel.errors import PlatformError

MOST = 10
WINDOW = timedelta(minutes=1)
_MOST_ADDRESSES = 10_000
_IPV6_SITE = 64


class TooManyAttempts(PlatformError):
    """An address failed too often. `retry_after_seconds` says when it may try again."""

    code: ClassVar[str] = "too_many_requests"

    def __init__(self, retry_after_seconds: int) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"Too many attempts to sign in failed. Try again in {retry_after_seconds} s.")


class Attempts:
    """Counts failures by client address; of IPv6 by site, because one client has all of its addresses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Let an address try.

        Raises:
            TooManyAttempts: if it has failed too often within the window.
        """
        now = self._clock.now()
        with self._lock:
            recent = self._recent(_site(address), now)
            if len(recent) >= MOST:
                wait = recent[-MOST] + WINDOW - now
                raise TooManyAttempts(max(1, -int(-wait.total_seconds() // 1)))

    def failed(self, address: str) -> None:
        """Count a failure."""
        now = self._clock.now()
        with self._lock:
            self._recent(_site(address), now).append(now)

    def _recent(self, site: str, now: datetime) -> deque[datetime]:
        found = self._failures.setdefault(site, deque(maxlen=MOST))
        self._failures.move_to_end(site)
        while found and found[0] <= now - WINDOW:
            found.popleft()
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.popitem(last=False)
        return found


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, _IPV6_SITE), strict=False))
    return str(parsed.ipv4_mapped or parsed) if isinstance(parsed, ipaddress.IPv6Address) else str(parsed)
