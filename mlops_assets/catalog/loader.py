"""How the files of a catalogue folder become declarations: one file, one thing, named like the file.

A file whose name begins with `_` is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import ReleaseFolder, served_name
from mlops_assets.features.versions.rollback import older_majors, released_view
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.python_file import object_in
from mlops_assets.kernel.semantic_version import parse_version
from mlops_assets.kernel.strict_yaml import read_file
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.spec import PromptVersion

RELEASED = "released"
"""The folder of released versions, beside the declarations of views."""
_RESERVED = re.compile(r"_v\d+$|_history$")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


D = TypeVar("D", bound=_Named)


def load_catalogue(folder: Path, *, retiring: tuple[str, int] | None = None) -> Catalogue:
    """Read every declaration below `folder` and resolve their references.

    Args:
        retiring: a view and its major version that are to be gone; other older ones that no longer run are left out
            too, so that each of several broken ones can be retired.

    Raises:
        InvalidDeclaration: naming the file, the field and the remedy.
        UnknownReference: naming the file, the field and the near misses.
    """
    if not folder.is_dir():
        raise InvalidDeclaration(
            file=folder, field="MLOPS_CATALOG_PATH", problem="there is no such folder", remedy="Correct the path."
        )
    return Catalogue(
        feature_views=_feature_views(folder / "feature_views", retiring),
        strategies=_by_name(_objects(folder / "strategies", "STRATEGY", Strategy)),
        models=_by_name(_mappings(folder / "models", ModelSpec.from_mapping)),
        scenarios=_by_name(_mappings(folder / "scenarios", Scenario.from_mapping)),
        policies={policy.id: policy for _, policy in _mappings(folder / "policies", PolicyRule.from_mapping)},
        prompts=_prompts(folder / "prompts"),
    )


def _objects(folder: Path, variable: str, kind: type[D]) -> Iterator[tuple[Path, D]]:
    """Yield what each Python file of `folder` binds to `variable`."""
    for file in _files(folder, "*.py"):
        yield file, object_in(file, variable, kind)


def _feature_views(folder: Path, retiring: tuple[str, int] | None) -> dict[str, FeatureView]:
    """Return the declared views, and the older major versions of them that are still served."""
    declared = _by_name(_objects(folder, "VIEW", FeatureView))
    for view in declared.values():
        _check_name(view)
    releases = ReleaseFolder(folder / RELEASED)
    older = {
        served_name(release.view, release.major): release
        for view in declared.values()
        for release in older_majors(view, releases)
        if retiring is None or ((release.view, release.major) != retiring and release.can_run)
    }
    # An old source may read another old one: every one has its name before the first is resolved.
    named = {**declared, **{name: release.declared() for name, release in older.items()}}
    return {**declared, **{name: released_view(release, name, named) for name, release in older.items()}}


def _check_name(view: FeatureView) -> None:
    if _RESERVED.search(view.name):
        raise InvalidDeclaration(
            file=view.declared_in,
            field="name",
            problem=f"{view.name!r} ends like the name of an older major version or of a view's history in DuckDB",
            remedy="Choose a name that does not end in _v<number> or _history.",
        )


def _mappings(folder: Path, build: Callable[[Mapping[str, Any], Path], D]) -> Iterator[tuple[Path, D]]:
    """Yield what `build` makes of each YAML file of `folder`."""
    for file in _files(folder, "*.yaml"):
        yield file, build(read_file(file, remedy="Save it as UTF-8 that you may read."), file)


def _prompts(folder: Path) -> dict[str, tuple[PromptVersion, ...]]:
    """Return the versions of each prompt, lowest first; the folder is the id, the file name the version."""
    found = dict[str, tuple[PromptVersion, ...]]()
    for file in _files(folder, "*/*.md"):
        version = PromptVersion.parse(file.read_text(encoding="utf-8"), file)
        found[version.id] = (*found.get(version.id, ()), version)
    return {
        name: tuple(sorted(versions, key=lambda version: parse_version(version.version)))
        for name, versions in found.items()
    }


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("_"))


def _by_name(declared: Iterator[tuple[Path, D]]) -> dict[str, D]:
    found = dict[str, D]()
    for file, declaration in declared:
        if declaration.name != file.stem:
            raise InvalidDeclaration(
                file=file,
                field="name",
                problem=f"{declaration.name!r} stands in a file called {file.name}",
                remedy=f"Rename the file to {declaration.name}{file.suffix}, or the declaration to {file.stem}.",
            )
        found[declaration.name] = declaration
    return found
