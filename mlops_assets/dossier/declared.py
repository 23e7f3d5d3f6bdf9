"""Which files of the catalogue stand behind a dossier, and whether they still say what was used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mlops_assets.dossier.things import ThingKind, safe_path
from mlops_assets.dossier.trace import Traced
from mlops_assets.evaluation.spec import Scenario, Strategy
from mlops_assets.features.spec import FeatureView
from mlops_assets.features.versions.releases import RECORD, ReleaseFolder
from mlops_assets.kernel.fingerprint import file_sha256
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.prompts.policy import PolicyRule
from mlops_assets.prompts.spec import PromptVersion


class Catalogue(Protocol):
    """What is declared; the catalogue itself lies one floor up."""

    @property
    def feature_views(self) -> Mapping[str, FeatureView]: ...
    @property
    def models(self) -> Mapping[str, ModelSpec]: ...
    @property
    def strategies(self) -> Mapping[str, Strategy]: ...
    @property
    def scenarios(self) -> Mapping[str, Scenario]: ...
    @property
    def policies(self) -> Mapping[str, PolicyRule]: ...
    @property
    def prompts(self) -> Mapping[str, Sequence[PromptVersion]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A declaration as it stands in the catalogue now: its fingerprint and its files."""

    fingerprint: str
    files: tuple[Path, ...]


class Standing(StrEnum):
    """Whether the catalogue still says what was used."""

    AS_USED = "as_used"
    CHANGED = "changed"
    GONE = "gone"
    IN_FORCE = "in_force"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One declaration that something in the dossier used. `recorded` is None for rules that nothing names by hash."""

    name: str
    recorded: str | None
    declared: Declared | None

    @property
    def standing(self) -> Standing:
        if self.recorded is None:
            return Standing.IN_FORCE
        if self.declared is None:
            return Standing.GONE
        return Standing.AS_USED if self.declared.fingerprint == self.recorded else Standing.CHANGED

    @property
    def members(self) -> dict[str, Path]:
        """Return where the archive keeps its files."""
        files = () if self.declared is None else self.declared.files
        return {f"declarations/{safe_path(self.name)}/{file.name}": file for file in files}


def declarations_of(
    traced: Traced, catalogue: Catalogue, *, rules: Sequence[Path], releases: ReleaseFolder
) -> list[Declaration]:
    """Return the declarations behind everything in a trace, by name, and the rules that are in force for all."""
    known = dict(_catalogued(catalogue))
    named = sorted(set(_named(traced)))
    for name, _ in named:
        if name.startswith("feature_views/") and (release := _release(name, releases)) is not None:
            known[name] = release
    used = (Declaration(name=name, recorded=value, declared=known.get(name)) for name, value in named)
    return [*used, *map(_in_force, rules)]


def _in_force(file: Path) -> Declaration:
    declared = Declared(fingerprint=file_sha256(file), files=(file,))
    return Declaration(name=f"rules/{file.stem}", recorded=None, declared=declared)


def _named(traced: Traced) -> Iterator[tuple[str, str]]:
    """Yield the declarations that rows name, with the fingerprint that they had then."""
    for one in traced.things.values():
        for named in one.inputs:
            if named.name.startswith(("scenarios/", "strategies/", "prompts/")):
                yield named.name, named.fingerprint
        match one.kind:
            case ThingKind.MODEL:
                recorded = one.row["metadata"].get("declaration_fingerprint")
                if recorded is not None:
                    yield f"models/{one.row['model']}", str(recorded)
            case ThingKind.RELEASE:
                yield f"feature_views/{one.row['view']}@{one.row['version']}", one.fingerprint
            case ThingKind.EVALUATION:
                yield f"prompts/{one.row['prompt_id']}@{one.row['version']}", one.row["prompt_fingerprint"]
                for rule, recorded in one.row["findings"].get("rules", {}).items():
                    yield f"policies/{rule.split('@')[0]}", str(recorded)
            case _:
                pass


def _catalogued(catalogue: Catalogue) -> Iterator[tuple[str, Declared]]:
    for kind, declarations in (
        ("models", catalogue.models),
        ("scenarios", catalogue.scenarios),
        ("strategies", catalogue.strategies),
        ("policies", catalogue.policies),
    ):
        for name, one in declarations.items():
            yield f"{kind}/{name}", Declared(fingerprint=one.fingerprint, files=(one.declared_in,))
    for versions in catalogue.prompts.values():
        for version in versions:
            declared = Declared(fingerprint=version.fingerprint, files=(version.declared_in,))
            yield f"prompts/{version.name}", declared


def _release(name: str, releases: ReleaseFolder) -> Declared | None:
    view, _, version = name.removeprefix("feature_views/").partition("@")
    if version not in releases.versions(view):
        return None
    release = releases.get(view, version)
    return Declared(fingerprint=release.fingerprint, files=(release.folder / RECORD, release.source))
