"""The declarations and Dagster's graph tell the same lineage, and it can be walked both ways."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import settings
from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.lineage import Branch, Lineage
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.graph import build_defs
from mlops_assets.services import ServiceFactory

SUBJECTS = {
    "features",
    "datasets",
    "models",
    "predictions",
    "explanations",
    "drift",
    "evaluation",
    "reports",
    "deployments",
}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(settings.PACKAGE / "catalog")


@pytest.fixture(scope="module")
def lineage(catalogue: Catalogue) -> Lineage:
    return Lineage.of(catalogue)


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dg.AssetSpec]:
    """What Dagster shows of every asset of these subjects, by name."""
    home: Path = tmp_path_factory.mktemp("home")
    definitions = build_defs(ServiceFactory(settings.load_settings(home=home)))
    return {
        spec.key.to_user_string(): spec
        for spec in definitions.resolve_all_asset_specs()
        if spec.key.path[0] in SUBJECTS
    }


def columns_in_dagster(spec: dg.AssetSpec) -> dict[str, set[tuple[str, str]]]:
    found = spec.metadata.get("dagster/column_lineage")
    if found is None:
        return {}
    deps = getattr(found, "lineage", found).deps_by_column
    return {name: {(dep.asset_key.to_user_string(), dep.column_name) for dep in read} for name, read in deps.items()}


def test_every_asset_of_dagster_is_declared_and_the_other_way_round(lineage: Lineage, specs: dict[str, dg.AssetSpec]):
    assert set(lineage.sources) == set(specs)


def test_the_columns_of_every_asset_come_from_the_same_columns(lineage: Lineage, specs: dict[str, dg.AssetSpec]):
    declared = {
        name: {column: set(read) for column, read in source.columns.items()} for name, source in lineage.sources.items()
    }
    assert declared == {name: columns_in_dagster(spec) for name, spec in specs.items()}


def test_every_asset_has_the_same_inputs(lineage: Lineage, specs: dict[str, dg.AssetSpec]):
    shown = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs.items()}
    assert {name: set(source.inputs) for name, source in lineage.sources.items()} == shown


def test_walking_down_from_a_source_meets_exactly_what_reads_it_walking_up(lineage: Lineage):
    """A column lies downstream of another if and only if the other lies upstream of it."""
    columns = [(name, column) for name, source in lineage.sources.items() for column in source.columns]
    for dataset, column in columns:
        for beyond in set(lineage.upstream(dataset, [column]).datasets()):
            above = [one for branch in _branches(lineage.upstream(dataset, [column]), beyond) for one in branch.columns]
            for one in above:
                below = _branches(lineage.downstream(beyond, [one]), dataset)
                assert any(column in branch.columns for branch in below), f"{beyond}.{one} ← {dataset}.{column}"


def _branches(branch: Branch, dataset: str) -> list[Branch]:
    nearer = [found for one in branch.branches for found in _branches(one, dataset)]
    return [*nearer, branch] if branch.dataset == dataset else nearer


def test_a_column_that_a_model_reads_leads_to_its_deployment(lineage: Lineage):
    beyond = set(lineage.downstream("features/momentum", ["rsi_14"]).datasets())
    assert {
        "datasets/signal_daily",
        "models/signal_classifier",
        "predictions/signal_classifier",
        "explanations/signal_classifier",
        "drift/signal_classifier/momentum",
        "deployments/signal_classifier",
        "evaluation/covid_crash/signal_ml",
        "reports/covid_crash",
    } <= beyond
    assert "evaluation/covid_crash/sma_crossover" not in beyond


def test_a_column_that_nothing_reads_ends_the_tree(lineage: Lineage):
    assert lineage.downstream("features/momentum", ["macd_hist"]).branches == ()


def test_a_column_comes_from_the_bars_column_its_formula_reads(lineage: Lineage):
    up = lineage.upstream("features/momentum", ["rsi_14"])
    assert [branch.name for branch in up.branches] == ["market/bars (adjusted_close)"]


def test_the_shap_values_of_a_feature_come_from_it_over_the_training_set(lineage: Lineage):
    up = lineage.upstream("explanations/signal_classifier", ["shap_rsi_14"])
    (chain,) = [one for one in up.branches if one.dataset == "datasets/signal_daily"]
    assert chain.columns == ("rsi_14",)
    assert [one.name for one in chain.branches] == ["features/momentum (rsi_14)"]


def test_what_was_told_is_not_told_twice(lineage: Lineage):
    tree = lineage.downstream("features/momentum")
    told = [
        branch
        for name in set(tree.datasets())
        for branch in _branches(tree, name)
        if branch.branches and not branch.is_repeated
    ]
    assert len({(branch.dataset, branch.columns) for branch in told}) == len(told)
