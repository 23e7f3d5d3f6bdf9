"""How the files of a catalogue folder become declarations: one file, one thing, named like the file.

A file whose name begins with `_` is left alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.features.spec import FeatureView
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.kernel.fingerprint import bytes_sha256
from mlops_assets.kernel.semantic_version import parse_version
from mlops_assets.kernel.strict_yaml import read_mapping
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.spec import PromptVersion


class _Named(Protocol):
    @property
    def name(self) -> str: ...


D = TypeVar("D", bound=_Named)


def load_catalogue(folder: Path) -> Catalogue:
    """Read every declaration below `folder` and resolve their references.

    Raises:
        InvalidDeclaration: naming the file, the field and the remedy.
        UnknownReference: naming the file, the field and the near misses.
    """
    if not folder.is_dir():
        raise InvalidDeclaration(
            file=folder, field="MLOPS_CATALOG_PATH", problem="there is no such folder", remedy="Correct the path."
        )
    return Catalogue(
        feature_views=_by_name(_objects(folder / "feature_views", "VIEW", FeatureView)),
        strategies=_by_name(_objects(folder / "strategies", "STRATEGY", Strategy)),
        models=_by_name(_mappings(folder / "models", ModelSpec.from_mapping)),
        scenarios=_by_name(_mappings(folder / "scenarios", Scenario.from_mapping)),
        policies={policy.id: policy for _, policy in _mappings(folder / "policies", PolicyRule.from_mapping)},
        prompts=_prompts(folder / "prompts"),
    )


def _objects(folder: Path, variable: str, kind: type[D]) -> Iterator[tuple[Path, D]]:
    """Yield what each Python file of `folder` binds to `variable`."""
    for file in _files(folder, "*.py"):
        found = _module_of(file).get(variable)
        if not isinstance(found, kind):
            raise InvalidDeclaration(
                file=file,
                field=variable,
                problem=f"it holds {type(found).__name__}, not a {kind.__name__}",
                remedy=f"Bind a {kind.__name__} to {variable} at the end of the file.",
            )
        yield file, found


def _module_of(file: Path) -> dict[str, Any]:
    name = f"mlops_declaration_{file.stem}_{bytes_sha256(str(file).encode())[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidDeclaration(file=file, field="(the file)", problem="Python can't load it", remedy="Name it *.py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError) as error:
        raise InvalidDeclaration(
            file=file,
            field="(the file)",
            problem=f"it stops with {type(error).__name__}: {error}",
            remedy="Run the file with Python to see where.",
        ) from error
    return vars(module)


def _mappings(folder: Path, build: Callable[[Mapping[str, Any], Path], D]) -> Iterator[tuple[Path, D]]:
    """Yield what `build` makes of each YAML file of `folder`."""
    for file in _files(folder, "*.yaml"):
        yield file, build(read_mapping(file.read_text(encoding="utf-8"), file), file)


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
