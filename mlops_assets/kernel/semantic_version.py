"""Which version comes first and how far apart two are: semantic versioning 2.0.0, by the `semver` library."""

from __future__ import annotations

from semver import Version


def parse_version(text: str) -> Version:
    """Parse `major.minor.patch`.

    Raises:
        ValueError: if `text` is not a semantic version.
    """
    return Version.parse(text)


def is_version(text: str) -> bool:
    return Version.is_valid(text)
