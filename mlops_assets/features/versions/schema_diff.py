"""How two states of a feature view differ, and which version the difference demands.

MAJOR: a column removed, renamed or retyped; a unit changed; keys (the grain) or TTL changed; a value on the reference
sample moved beyond the tolerance, its absence included; a view it reads has another major version; a column may be
empty that could not before. MINOR: a column added while the others stay; a range changed either way (narrower promises
more, wider promises less, and no value on the sample moved); a column is never empty any more. PATCH: words, owner,
tags, formula text, order, warm-up, another source or other rows under it (the partition) with equal values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import polars as pl

from mlops_assets.features.bar_rows import ROW
from mlops_assets.features.spec import KEY_COLUMNS, Feature, FeatureView
from mlops_assets.kernel.fingerprint import Json, fingerprint
from mlops_assets.kernel.semantic_version import parse_version

TOLERANCE = 1e-9
"""How far a value may move, relative to itself."""
_FLOOR = 1e-12
"""The same, relative to the largest value of the column: for differences that are zero but for rounding."""
_PINNED = re.compile(r"(?P<view>.+)_v(?P<major>\d+)")


class Bump(IntEnum):
    """Which part of a version a difference demands to raise."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs. `column` is empty for what concerns the whole view."""

    bump: Bump
    what: str
    column: str = ""

    def __str__(self) -> str:
        where = f"column {self.column}: " if self.column else ""
        return f"{self.bump.name.lower()}: {where}{self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDescription:
    """What a column promises, and the identity of the expression that computes it."""

    name: str
    type: str
    unit: str
    minimum: float | None
    maximum: float | None
    formula: str
    is_nullable: bool
    description: str
    inputs: tuple[str, ...]
    expression: str

    @classmethod
    def of(cls, column: Feature) -> ColumnDescription:
        return cls(
            name=column.name,
            type=column.type,
            unit=column.unit,
            minimum=column.minimum,
            maximum=column.maximum,
            formula=column.formula,
            is_nullable=column.is_nullable,
            description=column.description,
            inputs=column.inputs,
            expression=expression_fingerprint(column.expr),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewDescription:
    """What a view promises at one version.

    `keys` are its key columns with their types, `partition` the rows an expression sees, `upstream` the versions of the
    views it reads, `engine` what the expressions' fingerprints were taken with, `source` the SHA-256 of its file.
    """

    name: str
    version: str
    owner: str
    description: str
    tags: tuple[str, ...]
    keys: tuple[str, ...]
    partition: str
    ttl_seconds: int
    warm_up_bars: int
    columns: tuple[ColumnDescription, ...]
    upstream: Mapping[str, str]
    engine: str
    source: str

    @classmethod
    def of(cls, view: FeatureView, upstream: Mapping[str, str], source: str) -> ViewDescription:
        """Describe a declaration; `upstream` are the versions of the views it reads, `source` its file's SHA-256."""
        return cls(
            name=view.name,
            version=view.version,
            owner=view.owner,
            description=view.description,
            tags=view.tags,
            keys=tuple(f"{column.name}:{column.type}" for column in KEY_COLUMNS),
            partition=view.partition.value,
            ttl_seconds=int(view.ttl.total_seconds()),
            warm_up_bars=view.warm_up_bars,
            columns=tuple(ColumnDescription.of(column) for column in view.columns),
            upstream={name: upstream[name] for name in view.upstream_views},
            engine=f"polars {pl.__version__}",
            source=source,
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def transformation(self) -> str:
        """Identity of what is computed: every expression, the rows it sees and the views it reads."""
        expressions: dict[str, Json] = {column.name: column.expression for column in self.columns}
        return fingerprint({"expressions": expressions, "partition": self.partition, "upstream": self.upstream})


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """A whole column in four numbers, so that rows which a release does not keep are watched as well.

    `weighted_sum` and `scale` are of numbers, 0 for others; `text` is the fingerprint of other values, empty for
    numbers.
    """

    nulls: int
    weighted_sum: float
    scale: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A view's values on the reference sample: some rows in full, every row in the totals."""

    rows: pl.DataFrame
    totals: Mapping[str, Total]


def differences(before: ViewDescription, after: ViewDescription, was: Golden, now: Golden) -> list[Difference]:
    """Return everything that differs, the gravest first.

    Args:
        was: the values of `before` on the reference sample.
        now: those of `after` on the same rows of the same sample.
    """
    found = [*_of_view(before, after), *_of_columns(before, after, was, now), *_of_upstream(before, after)]
    if not found and before.source != after.source:
        found.append(Difference(bump=Bump.PATCH, what="the file changed, no value did"))
    return sorted(found, key=lambda difference: -difference.bump)


def demanded_bump(found: Sequence[Difference]) -> Bump:
    """Return the largest bump that any of the differences demands."""
    return max((difference.bump for difference in found), default=Bump.NONE)


def demanded_version(released: str, bump: Bump) -> str:
    """Return the lowest version that may follow `released`."""
    version = parse_version(released)
    match bump:
        case Bump.MAJOR:
            return str(version.bump_major())
        case Bump.MINOR:
            return str(version.bump_minor())
        case Bump.PATCH:
            return str(version.bump_patch())
        case Bump.NONE:
            return released


def moved(was: pl.Series, now: pl.Series) -> pl.Series:
    """Tell for each row whether the value moved beyond the tolerance, or appeared, or disappeared."""
    lost = was.is_null() != now.is_null()
    if not (was.dtype.is_numeric() and now.dtype.is_numeric()):
        return lost | was.ne_missing(now)
    old, new = was.cast(pl.Float64), now.cast(pl.Float64)
    largest = old.abs().max()
    floor = _FLOOR * largest if isinstance(largest, float) else 0.0
    magnitude = pl.DataFrame({"old": old.abs(), "new": new.abs()}).max_horizontal()
    return lost | ((old - new).abs() > magnitude * TOLERANCE + floor).fill_null(value=False)


def expression_fingerprint(expr: pl.Expr) -> str:
    """Return the identity of an expression as this version of polars writes it down.

    A function in Python is known by its place only: its pickled bytes depend on the machine.
    """
    written = expr.meta.serialize(format="json")
    return fingerprint(re.sub(r"\[\d+(?:,\d+){15,}\]", '"(Python)"', written))


def pinned(name: str) -> tuple[str, int | None]:
    """Split the name of an older major version, `<view>_v<major>`; any other name has no major of its own."""
    found = _PINNED.fullmatch(name)
    return (name, None) if found is None else (found["view"], int(found["major"]))


def _of_view(before: ViewDescription, after: ViewDescription) -> Iterator[Difference]:
    for bump, what, old, new in (
        (Bump.MAJOR, "keys", ", ".join(before.keys), ", ".join(after.keys)),
        (Bump.MAJOR, "TTL", f"{before.ttl_seconds} s", f"{after.ttl_seconds} s"),
        (Bump.PATCH, "owner", before.owner, after.owner),
        (Bump.PATCH, "tags", ", ".join(before.tags), ", ".join(after.tags)),
        (Bump.PATCH, "what it is computed over", before.partition, after.partition),
        (Bump.PATCH, "warm-up", f"{before.warm_up_bars} bars", f"{after.warm_up_bars} bars"),
    ):
        if old != new:
            yield Difference(bump=bump, what=f"{what} changed from {old or 'none'} to {new or 'none'}")
    if before.description != after.description:
        yield Difference(bump=Bump.PATCH, what="its description changed")
    kept = [name for name in before.column_names if name in after.column_names]
    if kept != [name for name in after.column_names if name in before.column_names]:
        yield Difference(bump=Bump.PATCH, what="the order of its columns changed")


def _of_columns(before: ViewDescription, after: ViewDescription, was: Golden, now: Golden) -> Iterator[Difference]:
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    added = [name for name in new if name not in old]
    for name in old:
        if name in new:
            yield from _of_promise(old[name], new[name])
            values = list(_of_values(name, was, now)) if old[name].type == new[name].type else []
            yield from values
            yield from _of_source(old[name], new[name], is_comparable=before.engine == after.engine and not values)
        elif (heir := _renamed_to(name, added, was, now)) is not None:
            added.remove(heir)
            yield Difference(bump=Bump.MAJOR, column=name, what=f"renamed to {heir}")
        else:
            yield Difference(bump=Bump.MAJOR, column=name, what="removed")
    for name in added:
        yield Difference(bump=Bump.MINOR, column=name, what="added")


def _of_promise(old: ColumnDescription, new: ColumnDescription) -> Iterator[Difference]:
    name = old.name
    if old.type != new.type:
        yield Difference(bump=Bump.MAJOR, column=name, what=f"retyped from {old.type} to {new.type}")
    if old.unit != new.unit:
        yield Difference(
            bump=Bump.MAJOR, column=name, what=f"unit changed from {old.unit or 'none'} to {new.unit or 'none'}"
        )
    if old.is_nullable != new.is_nullable:
        bump, what = (Bump.MAJOR, "may be empty now") if new.is_nullable else (Bump.MINOR, "is never empty any more")
        yield Difference(bump=bump, column=name, what=what)
    ranges = [(column.minimum, column.maximum) for column in (old, new)]
    if ranges[0] != ranges[1]:
        yield Difference(
            bump=Bump.MINOR, column=name, what=f"range changed from {_range(*ranges[0])} to {_range(*ranges[1])}"
        )
    for what in ("formula", "description"):
        if getattr(old, what) != getattr(new, what):
            yield Difference(bump=Bump.PATCH, column=name, what=f"the text of its {what} changed")


def _of_values(name: str, was: Golden, now: Golden) -> Iterator[Difference]:
    joined = was.rows.select(*ROW, was=name).join(now.rows.select(*ROW, now=name), on=ROW, how="left")
    rows = joined.filter(moved(joined["was"], joined["now"])).sort(*ROW)
    if rows.height:
        first = rows.row(0, named=True)
        yield Difference(
            bump=Bump.MAJOR,
            column=name,
            what=f"{rows.height} of {joined.height} reference values moved, first {first['symbol']} on "
            f"{first['date']}: {_shown(first['was'])} was, {_shown(first['now'])} is",
        )
    elif _totals_moved(was.totals[name], now.totals[name]):
        yield Difference(
            bump=Bump.MAJOR,
            column=name,
            what="values moved on rows of the reference sample that the release keeps in total only",
        )


def _totals_moved(was: Total, now: Total) -> bool:
    if (was.nulls, was.text) != (now.nulls, now.text):
        return True
    return abs(was.weighted_sum - now.weighted_sum) > TOLERANCE * max(was.scale, now.scale)


def _of_source(old: ColumnDescription, new: ColumnDescription, *, is_comparable: bool) -> Iterator[Difference]:
    if old.inputs != new.inputs:
        yield Difference(
            bump=Bump.PATCH,
            column=old.name,
            what=f"reads {', '.join(new.inputs)} instead of {', '.join(old.inputs)}",
        )
    elif is_comparable and old.expression != new.expression:
        yield Difference(bump=Bump.PATCH, column=old.name, what="another expression with equal values")


def _renamed_to(name: str, added: Sequence[str], was: Golden, now: Golden) -> str | None:
    """Return the added column that holds the values of the removed one."""
    old = was.rows.sort(*ROW)[name]
    if old.null_count() == old.len():
        return None
    rows = was.rows.select(ROW).join(now.rows, on=ROW, how="left").sort(*ROW)
    for heir in added:
        if rows[heir].dtype == old.dtype and not moved(old, rows[heir]).any():
            return heir
    return None


def _of_upstream(before: ViewDescription, after: ViewDescription) -> Iterator[Difference]:
    """Compare the major versions of the views that both read: columns read elsewhere show in the values."""
    old, new = _majors(before.upstream), _majors(after.upstream)
    for view in sorted(old.keys() & new.keys()):
        if old[view] != new[view]:
            yield Difference(
                bump=Bump.MAJOR,
                what=f"it reads {view} {_listed(new[view])}, and was released on {view} {_listed(old[view])}",
            )


def _majors(upstream: Mapping[str, str]) -> dict[str, set[int]]:
    found = dict[str, set[int]]()
    for name, version in upstream.items():
        found.setdefault(pinned(name)[0], set()).add(parse_version(version).major)
    return found


def _listed(majors: set[int]) -> str:
    return " and ".join(f"{major}.x" for major in sorted(majors))


def _range(minimum: float | None, maximum: float | None) -> str:
    return f"[{'-inf' if minimum is None else minimum}, {'inf' if maximum is None else maximum}]"


def _shown(value: object) -> str:
    return "null" if value is None else repr(value)
