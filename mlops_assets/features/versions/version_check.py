"""May a view be released under the version it declares: its difference from the last release, and what that demands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from pathlib import Path

from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.reference_sample import golden
from mlops_assets.features.versions.releases import Release, ReleaseFolder, describe, is_older_major
from mlops_assets.features.versions.schema_diff import (
    Bump,
    Difference,
    demanded_bump,
    demanded_version,
    differences,
    pinned,
)
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.semantic_version import parse_version

Readers = Mapping[str, Sequence[str]]
"""By column of a view, who reads it: models with their training sets, and views."""


class Standing(StrEnum):
    """How a declared version stands to what is released."""

    RELEASED = "released"
    UNRELEASED = "not released yet"
    REFUSED = "refused"


class VersionRefused(PlatformError):
    """A declared version is lower than its difference from the last release demands, or a record was changed."""

    code = "version_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found of one view. `demanded` is the lowest version allowed, None where nothing was released before."""

    view: str
    file: Path
    declared: str
    released: str | None
    demanded: str | None
    standing: Standing
    message: str
    differences: tuple[Difference, ...]
    readers: Readers

    @property
    def is_refused(self) -> bool:
        return self.standing is Standing.REFUSED

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to do for it."""
        return self.standing is Standing.RELEASED


def check_view(
    view: FeatureView, views: Mapping[str, FeatureView], releases: ReleaseFolder, readers: Readers
) -> Verdict:
    """Compare a declared view, or an older major version that is served, with its last release.

    Args:
        views: every view that may be read, by name.
        readers: who reads the columns of this view.
    """
    name, major = pinned(view.name) if is_older_major(view) else (view.name, None)
    try:
        history = releases.verify(name)
        latest = next((one for one in reversed(history) if major in (None, one.major)), None)
        if latest is None:
            return _first_of(view)
        found = compare(latest, view, views, releases)
    except (PlatformError, OSError) as error:
        return _verdict(view, None, Standing.REFUSED, str(error), readers=readers)
    if major is not None:
        return _of_an_older_major(view, latest, found, readers)
    return _judged(view, latest, found, readers)


def compare(
    release: Release, view: FeatureView, views: Mapping[str, FeatureView], releases: ReleaseFolder
) -> list[Difference]:
    """Return how a view differs from a release of it, the values on the reference sample included."""
    after = describe(view, views)
    return differences(release.description, after, release.golden(), golden(view, views, releases.bars))


def compare_releases(before: Release, after: Release) -> list[Difference]:
    """Return how two released versions differ, by their records alone: values on the rows that both keep."""
    was, now = before.golden(), after.golden()
    both = replace(was, rows=was.rows.join(now.rows, on=["symbol", "date"], how="semi"))
    return differences(before.description, after.description, both, now)


def orphans(declared: Mapping[str, FeatureView], releases: ReleaseFolder) -> list[str]:
    """Return the views that have a released version and are not declared any more."""
    return [name for name in releases.views if name not in declared]


def release_view(
    view: FeatureView, views: Mapping[str, FeatureView], releases: ReleaseFolder, readers: Readers
) -> Release:
    """Record the declared version of a view as released.

    Raises:
        VersionRefused: if the version is lower than the difference demands.
        Conflict: if it is released already.
    """
    verdict = check_view(view, views, releases, readers)
    if verdict.is_refused:
        raise VersionRefused(verdict.message)
    for name in view.upstream_views:
        upstream = views[name]
        if not is_older_major(upstream) and upstream.version not in releases.versions(name):
            raise VersionRefused(
                f"feature view {view.name} {view.version} reads {name} {upstream.version}, which is not released. "
                f"Run `mlops features release {name}` first."
            )
    return releases.write(view, views)


def in_order_of_reading(views: Mapping[str, FeatureView]) -> list[FeatureView]:
    """Return the views so that each comes after those it reads."""
    ordered = dict[str, FeatureView]()

    def add(view: FeatureView) -> None:
        for name in view.upstream_views:
            add(views[name])
        ordered.setdefault(view.name, view)

    for view in views.values():
        add(view)
    return list(ordered.values())


def _first_of(view: FeatureView) -> Verdict:
    if not _is_plain(view.version):
        return _verdict(view, None, Standing.REFUSED, _not_plain(view))
    message = f"not released yet: `mlops features release {view.name}` makes {view.version} the first release"
    return _verdict(view, None, Standing.UNRELEASED, message)


def _judged(view: FeatureView, latest: Release, found: Sequence[Difference], readers: Readers) -> Verdict:
    demanded = demanded_version(latest.version, demanded_bump(found))
    standing, message = _standing(view, latest, found, demanded, readers)
    return _verdict(view, latest, standing, message, demanded=demanded, differences=found, readers=readers)


def _standing(
    view: FeatureView, latest: Release, found: Sequence[Difference], demanded: str, readers: Readers
) -> tuple[Standing, str]:
    if not _is_plain(view.version):
        return Standing.REFUSED, _not_plain(view)
    declared, released = parse_version(view.version), parse_version(latest.version)
    if declared < released:
        return Standing.REFUSED, (
            f"feature view {view.name} in {view.declared_in} declares {view.version}, but {latest.version} is released "
            f"already. Declare at least {demanded}; `mlops features rollback` serves an older version again"
        )
    if declared < parse_version(demanded):
        return Standing.REFUSED, _too_low(view, latest, found, demanded, readers)
    if declared == released:
        return Standing.RELEASED, "as released"
    return Standing.UNRELEASED, (
        f"not released yet: `mlops features release {view.name}`; since {latest.version}: {_reasons(found)}"
    )


def _of_an_older_major(view: FeatureView, latest: Release, found: Sequence[Difference], readers: Readers) -> Verdict:
    """Judge a served older major version: its record stands, so only what it computes or promises can have moved."""
    changed = [one for one in found if one.bump is not Bump.PATCH]
    if not changed:
        message = f"served beside {pinned(view.name)[0]}, computes what it promised"
        return _verdict(view, latest, Standing.RELEASED, message, demanded=view.version, readers=readers)
    name, major = pinned(view.name)
    message = (
        f"feature view {view.name} ({latest.source}) no longer gives what was released as {latest.version}: "
        f"{_reasons(changed)}{_read_by(changed, readers)}. Undo the change of what it uses, or retire it with "
        f"`mlops features retire {name} {major}`"
    )
    return _verdict(
        view, latest, Standing.REFUSED, message, differences=changed, demanded=view.version, readers=readers
    )


def _too_low(view: FeatureView, latest: Release, found: Sequence[Difference], demanded: str, readers: Readers) -> str:
    is_same = view.version == latest.version
    state = f"{view.version} is released and never changes" if is_same else f"{view.version} is too low"
    return (
        f"feature view {view.name} in {view.declared_in}: {state}; since {latest.version}: {_reasons(found)}. "
        f"This demands at least {demanded}{_read_by(found, readers)}"
    )


def _read_by(found: Sequence[Difference], readers: Readers) -> str:
    """Name who reads what changed: the changed columns, or all of them if the whole view did."""
    grave = [one for one in found if one.bump is Bump.MAJOR]
    columns = list(readers) if any(not one.column for one in grave) else [one.column for one in grave]
    users = sorted(set(chain.from_iterable(readers.get(column, ()) for column in columns)))
    return f"; read by {', '.join(users)}" if users else ""


def _reasons(found: Sequence[Difference]) -> str:
    return "; ".join(map(str, found))


def _is_plain(version: str) -> bool:
    parsed = parse_version(version)
    return parsed.prerelease is None and parsed.build is None


def _not_plain(view: FeatureView) -> str:
    return (
        f"feature view {view.name} in {view.declared_in}: version {view.version} can't be released. "
        "Write it as major.minor.patch, like 1.2.0"
    )


def _verdict(
    view: FeatureView,
    latest: Release | None,
    standing: Standing,
    message: str,
    *,
    demanded: str | None = None,
    differences: Sequence[Difference] = (),
    readers: Readers | None = None,
) -> Verdict:
    return Verdict(
        view=view.name,
        file=view.declared_in,
        declared=view.version,
        released=None if latest is None else latest.version,
        demanded=demanded,
        standing=standing,
        message=message,
        differences=tuple(differences),
        readers=readers or {},
    )
