"""The reference pages of the feature views: an index to reuse them by, and one page for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from mlops_assets.cli.markdown import plain, table
from mlops_assets.settings import SOURCE_TREE

if TYPE_CHECKING:
    from mlops_assets.catalog.catalogue import Catalogue
    from mlops_assets.catalog.lineage import Branch, Lineage
    from mlops_assets.features.spec import Feature, FeatureView
    from mlops_assets.features.versions.releases import Release, ReleaseFolder

INDEX, FOLDER = "features.md", "features"
_DAY_SECONDS = 86_400
_ROWS = {
    "symbol": "each stock's own bars, in order of time",
    "date": "all stocks of one day",
    "index": "the bars of the market's index; every stock gets the day's value",
    "calendar": "the days themselves, each stock getting the day's value",
}


def pages(catalogue: Catalogue, releases: ReleaseFolder) -> dict[str, Callable[[], str]]:
    """Return the pages of the feature views by name: what they say is made when it is asked for."""
    from mlops_assets.catalog.lineage import Lineage

    lineage = Lineage.of(catalogue)
    views = sorted(catalogue.feature_views.values(), key=lambda view: view.name)
    each = {_page_of(view): partial(view_page, view, catalogue, lineage, releases) for view in views}
    return {INDEX: partial(index_page, catalogue), **each}


def index_page(catalogue: Catalogue) -> str:
    """Say what exists, what for, whose it is and who uses it."""
    views = sorted(catalogue.feature_views.values(), key=lambda view: view.name)
    said = (
        "# Feature views\n\nWhat exists, before you write another. `mlops features search <words>` finds views and "
        "columns in English and Korean; `mlops features list` says where each stands and how fresh it is.\n"
    )
    purposes = [
        (
            f"[`{view.name}`]({_page_of(view)})",
            plain(view.description),
            str(len(view.columns)),
            view.owner,
            view.version,
            ", ".join(view.tags),
            ", ".join(_readers(view, catalogue)) or "nobody yet",
        )
        for view in views
    ]
    columns = sorted(
        ((column.name, view, column) for view in views for column in view.columns), key=lambda one: one[:1]
    )
    listed = [
        (f"`{name}`", f"[`{view.name}`]({_page_of(view)})", column.unit, plain(column.description))
        for name, view, column in columns
    ]
    heads = ("view", "what for", "columns", "owner", "version", "tags", "used by")
    return "\n".join(
        [said, table(heads, purposes), "## Every column\n", table(("column", "view", "unit", "what it is"), listed)]
    )


def view_page(view: FeatureView, catalogue: Catalogue, lineage: Lineage, releases: ReleaseFolder) -> str:
    """Say all there is to know to use a view: columns, nulls, lineage, users, how to read it, its changes."""
    parts = [
        f"# `{view.name}`\n\n[All feature views](../{INDEX})\n\n{plain(view.description)}\n",
        _facts(view),
        "## Columns\n",
        table(("column", "what it is", "unit", "range", "type"), [_column(column) for column in view.columns]),
        "## Formulas\n",
        table(("column", "formula and source", "reads"), [_formula(column) for column in view.columns]),
        _nulls(view),
        _lineage(view, lineage),
        _models(view, catalogue),
        _reading(view),
        _changes(view, releases),
    ]
    return "\n".join(parts)


def _page_of(view: FeatureView) -> str:
    return f"{FOLDER}/{view.name}.md"


def _facts(view: FeatureView) -> str:
    source = view.declared_in.resolve()
    is_ours = source.is_relative_to(SOURCE_TREE)
    shown = source.relative_to(SOURCE_TREE).as_posix() if is_ours else source.name
    facts = {
        "version": view.version,
        "owner": view.owner,
        "tags": ", ".join(view.tags) or "none",
        "declared in": f"[`{shown}`](../../../{shown})" if is_ours else f"`{shown}`",
        "computed over": _ROWS[view.partition.value],
        "a value counts for": _ttl(view),
    }
    return "".join(f"- {name}: {value}\n" for name, value in facts.items())


def _ttl(view: FeatureView) -> str:
    seconds = int(view.ttl.total_seconds())
    if seconds == 0:
        return "any time"
    days, rest = divmod(seconds, _DAY_SECONDS)
    return f"{days} days after its bar" if rest == 0 else f"{seconds} seconds after its bar"


def _column(column: Feature) -> Sequence[str]:
    from mlops_assets.catalog.feature_facts import range_of

    return (f"`{column.name}`", plain(column.description), column.unit, range_of(column), column.type)


def _formula(column: Feature) -> Sequence[str]:
    return (f"`{column.name}`", plain(column.formula), ", ".join(f"`{name}`" for name in column.inputs))


def _nulls(view: FeatureView) -> str:
    never = [f"`{column.name}`" for column in view.columns if not column.is_nullable]
    full = f"Never null: {', '.join(never)}. " if never else ""
    return (
        f"## Nulls and warm-up\n\n{full}A column is null until its window is full: the longest of this view takes "
        f"{view.warm_up_bars} bars. It is null in every row where the source lacks an input it reads; "
        f"`mlops features show {view.name}` names these columns as unavailable. Nothing is filled forward.\n"
    )


def _lineage(view: FeatureView, lineage: Lineage) -> str:
    up = _tree(lineage.upstream(view.dataset).branches)
    down = _tree(lineage.downstream(view.dataset).branches)
    return f"## Lineage\n\nComes from:\n\n{up}\n\nLeads to:\n\n{down or '- nothing reads it yet'}\n"


def _tree(branches: Sequence[Branch], depth: int = 0) -> str:
    lines: list[str] = []
    for branch in branches:
        columns = f": {', '.join(branch.columns)}" if branch.columns else ""
        again = " (as above)" if branch.is_repeated else ""
        lines.append(f"{'  ' * depth}- `{branch.dataset}`{columns}{again}")
        if branch.branches:
            lines.append(_tree(branch.branches, depth + 1))
    return "\n".join(lines)


def _models(view: FeatureView, catalogue: Catalogue) -> str:
    rows = []
    for model in catalogue.models.values():
        columns = [f"`{one.column}`" for one in model.training_set.features if one.view == view.name]
        if columns:
            training_set = f"`{model.training_set.dataset}`"
            rows.append(
                (f"`{model.name}`", model.version, training_set, ", ".join(columns), model.deployment.environment)
            )
    heads = ("model", "version", "training set", "columns", "asks for")
    said = table(heads, rows) if rows else "No model of the catalogue reads it.\n"
    more = f"`mlops features show {view.name}` adds registered versions, importance and deployments.\n"
    return f"## Models that use it\n\n{said}\n{more}"


def _reading(view: FeatureView) -> str:
    column = view.column_names[0]
    pinned = f"features.{view.name}" if view.name.endswith(f"_v{view.major}") else f"features.{view.name}_v{view.major}"
    reference = f"{view.name}.{column}"
    return f"""## How to read it

In SQL, in the DuckDB file of the installation; `{pinned}` stays on this major version:

```sql
SELECT symbol, date, {column}
FROM features.{view.name}
WHERE symbol = 'AAPL'
ORDER BY date DESC
LIMIT 5;
```

In Python, the newest values, and values as they were known at each row's time:

```python
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import load_settings

store = ServiceFactory(load_settings()).features
newest = store.latest(["AAPL", "MSFT"], ["{reference}"]).rows
known_then = store.training_set(entities, ["{reference}"]).rows  # entities: columns symbol and at
```

In the training set of a model, `models/<name>.yaml`:

```yaml
training_set:
  features:
    - {reference}
```
"""  # noqa: S608 - an example to read


def _changes(view: FeatureView, releases: ReleaseFolder) -> str:
    from mlops_assets.catalog.feature_facts import declared_name

    released = [releases.get(declared_name(view), version) for version in releases.versions(declared_name(view))]
    if not released:
        return "## Released versions\n\nNone yet.\n"
    said = [*(_change(before, after) for before, after in pairwise(released))][::-1]
    first = f"### {released[0].version}\n\nThe first release: {len(released[0].description.columns)} columns.\n"
    return "\n".join(["## Released versions\n", *said, first])


def _change(before: Release, after: Release) -> str:
    from mlops_assets.features.versions.version_check import compare_releases

    found = compare_releases(before, after)
    listed = "\n".join(f"- {plain(str(one))}" for one in found) or "- nothing differs"
    return f"### {after.version}\n\n{listed}\n"


def _readers(view: FeatureView, catalogue: Catalogue) -> list[str]:
    models = [f"model `{one.name}`" for one in catalogue.models.values() if view.name in one.training_set.views]
    others = [f"view `{one.name}`" for one in catalogue.feature_views.values() if view.name in one.upstream_views]
    return [*models, *sorted(others)]
