"""May a version of a view become active: what its blocking validations found in the published snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from mlops_assets.features.quality import OutOfRange, keys_are_unique, out_of_range
from mlops_assets.features.spec import KEY_COLUMNS, FeatureView
from mlops_assets.kernel.columns import Column, ColumnType

_KEYS = ("symbol", "date", "known_at")
_STORED_AS: Mapping[ColumnType, Collection[str]] = {
    "float": ("double",),
    "integer": ("int64",),
    "string": ("string", "large_string", "string_view"),
    "boolean": ("bool",),
    "date": ("date32[day]",),
    "timestamp": ("timestamp[us, tz=UTC]",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCertificate:
    """What the look-ahead check found of one snapshot, as it was kept. `peeks` are sentences."""

    view: str
    version: str
    snapshot_fingerprint: str
    bars_fingerprint: str
    cuts: tuple[str, ...]
    rows_compared: int
    peeks: tuple[str, ...]
    is_clean: bool
    fingerprint: str
    issued_at: datetime
    issued_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationEvidence:
    """What was found of the version that is to become active, and of the snapshot readers get.

    `release_fingerprint` is what the repository released under that version, None if it was not released;
    `is_as_released` says whether the declaration's file is still the released one, `archived` which of the views it
    reads are archived.
    """

    view: str
    version: str
    dataset: str
    release_fingerprint: str | None
    is_as_released: bool = True
    snapshot_fingerprint: str | None = None
    snapshot_version: str | None = None
    row_count: int = 0
    outside: tuple[OutOfRange, ...] = ()
    bad_keys: str = ""
    schema_differences: tuple[str, ...] = ()
    certificate: RecordedCertificate | None = None
    archived: tuple[str, ...] = ()


def obstacles(evidence: ActivationEvidence) -> tuple[str, ...]:
    """Return every reason why the version may not be activated, each with its remedy; none if it may."""
    reads = (f"it reads {name}, which is archived: let it read another view" for name in evidence.archived)
    return (*_of_the_release(evidence), *reads, *_of_the_snapshot(evidence))


def examine(
    view: FeatureView,
    rows: pl.DataFrame | None,
    *,
    schema: Mapping[str, str],
    snapshot_fingerprint: str | None,
    snapshot_version: str | None,
    release_fingerprint: str | None,
    is_as_released: bool,
    certificate: RecordedCertificate | None,
    archived: Sequence[str] = (),
) -> ActivationEvidence:
    """Hold a published snapshot against the declaration of its view.

    Args:
        rows: the published rows, None if nothing was published.
        schema: the stored type of each published column.
        snapshot_version: the version of the view that the snapshot says it was computed by.
        archived: which of the views it reads are archived.
    """
    found = pl.DataFrame() if rows is None else rows
    present = [column for column in view.columns if column.name in found.columns]
    keys = keys_are_unique(found) if set(_KEYS) <= set(found.columns) else None
    return ActivationEvidence(
        view=view.name,
        version=view.version,
        dataset=view.dataset,
        release_fingerprint=release_fingerprint,
        is_as_released=is_as_released,
        snapshot_fingerprint=snapshot_fingerprint,
        snapshot_version=snapshot_version,
        row_count=found.height,
        outside=tuple(out_of_range(found, present)),
        bad_keys="" if keys is None or keys.is_passed else keys.words,
        schema_differences=() if rows is None else tuple(schema_differences(view, schema)),
        certificate=certificate,
        archived=tuple(archived),
    )


def schema_differences(view: FeatureView, schema: Mapping[str, str]) -> Iterator[str]:
    """Yield how the stored columns differ from the declared ones: missing, of another type, not declared."""
    declared: Sequence[Column] = (*KEY_COLUMNS, *view.columns)
    for column in declared:
        stored = schema.get(column.name)
        if stored is None:
            yield f"{column.name} is missing"
        elif stored not in _STORED_AS[column.type]:
            yield f"{column.name} is {stored}, declared {column.type}"
    names = {column.name for column in declared}
    yield from (f"{name} is not declared" for name in schema if name not in names)


def _of_the_release(evidence: ActivationEvidence) -> Iterator[str]:
    if evidence.release_fingerprint is None:
        yield f"version {evidence.version} is not released: run `mlops features release {evidence.view}`"
    elif not evidence.is_as_released:
        yield (
            f"the declaration is no longer what was released as {evidence.version}: `mlops features check` says which "
            "version the change demands"
        )


def _of_the_snapshot(evidence: ActivationEvidence) -> Iterator[str]:
    again = f"materialise {evidence.dataset}"
    if evidence.snapshot_fingerprint is None:
        yield f"nothing is published: {again}"
        return
    if evidence.snapshot_version != evidence.version:
        of = f"of version {evidence.snapshot_version}" if evidence.snapshot_version else "of no stated version"
        forward = f"`mlops features rollback {evidence.view} {evidence.version}`"
        yield f"the published snapshot is {of}, not {evidence.version}: {again}; after a rollback, {forward} first"
    if evidence.row_count == 0:
        yield f"the published snapshot is empty: look at its source, then {again}"
    if evidence.schema_differences:
        yield f"its schema is not the declared one ({', '.join(evidence.schema_differences)}): {again}"
    if evidence.bad_keys:
        yield f"{evidence.bad_keys}; mend the bars, then {again}"
    for one in evidence.outside:
        yield (
            f"{one.column} has {one.rows} values out of range, from {one.lowest:g} to {one.highest:g}: "
            "correct the formula or its bounds"
        )
    yield from _of_the_certificate(evidence)


def _of_the_certificate(evidence: ActivationEvidence) -> Iterator[str]:
    certificate = evidence.certificate
    is_its_own = (
        certificate is not None
        and certificate.snapshot_fingerprint == evidence.snapshot_fingerprint
        and certificate.version == evidence.version
    )
    if certificate is None or not is_its_own:
        yield f"no look-ahead certificate of this snapshot: run the check look_ahead of {evidence.dataset}"
    elif not certificate.is_clean:
        first = f" ({certificate.peeks[0]})" if certificate.peeks else ""
        yield f"it uses later values: {len(certificate.peeks)} peeks on its look-ahead certificate{first}"
