"""Adding one file is enough; a mistake names the file, the field and what was meant."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import settings
from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.graph import build_defs
from mlops_assets.kernel.errors import InvalidDeclaration, UnknownReference
from mlops_assets.services import ServiceFactory

SHIPPED = settings.PACKAGE / "catalog"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    copied = tmp_path / "catalog"
    shutil.copytree(SHIPPED, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def definitions(catalog: Path, home: Path) -> dg.Definitions:
    return build_defs(ServiceFactory(settings.load_settings(home=home, catalog_path=catalog)))


def assets_of(found: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in found.resolve_all_asset_keys()}


def copy_with(source: Path, target: Path, *changes: tuple[str, str]) -> None:
    text = source.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"{source} has no {old!r} any more"
        text = text.replace(old, new)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def add_view(catalog: Path) -> None:
    views = catalog / "feature_views"
    copy_with(views / "momentum.py", views / "tempo.py", ('name="momentum",', 'name="tempo",'))


def add_model(catalog: Path) -> None:
    models = catalog / "models"
    copy_with(
        models / "signal_classifier.yaml",
        models / "second_classifier.yaml",
        ("signal_classifier", "second_classifier"),
        ("signal_daily", "second_daily"),
    )


def add_strategy_and_scenario(catalog: Path) -> None:
    strategies, scenarios = catalog / "strategies", catalog / "scenarios"
    copy_with(
        strategies / "sma_crossover.py", strategies / "fast_crossover.py", ('"sma_crossover"', '"fast_crossover"')
    )
    copy_with(
        scenarios / "covid_crash.yaml",
        scenarios / "fast_covid.yaml",
        ("name: covid_crash", "name: fast_covid"),
        ("sma_crossover", "fast_crossover"),
    )


def add_prompt_version(catalog: Path) -> None:
    folder = catalog / "prompts" / "backtest_narrative"
    copy_with(folder / "1.0.0.md", folder / "1.1.0.md", ("version: 1.0.0", "version: 1.1.0"))


@pytest.mark.parametrize(
    ("add", "appearing"),
    [
        (add_view, {"features/tempo"}),
        (
            add_model,
            {
                "datasets/second_daily",
                "models/second_classifier",
                "predictions/second_classifier",
                "explanations/second_classifier",
                "deployments/second_classifier",
            },
        ),
        (add_strategy_and_scenario, {"evaluation/fast_covid/fast_crossover", "reports/fast_covid"}),
    ],
)
def test_one_file_more_is_an_asset_more(
    catalog: Path, tmp_path: Path, add: Callable[[Path], None], appearing: set[str]
):
    before = assets_of(definitions(catalog, tmp_path))
    add(catalog)
    after = assets_of(definitions(catalog, tmp_path))
    assert appearing <= after - before
    assert before <= after


def test_a_new_view_brings_its_checks_and_a_new_scenario_its_schedule(catalog: Path, tmp_path: Path):
    add_view(catalog)
    add_strategy_and_scenario(catalog)
    repository = definitions(catalog, tmp_path).get_repository_def()
    checks = {f"{key.asset_key.to_user_string()}:{key.name}" for key in repository.asset_graph.asset_check_keys}
    assert "features/tempo:look_ahead" in checks
    assert any("fast_covid" in name for name in (schedule.name for schedule in repository.schedule_defs))


def test_a_new_prompt_version_is_a_partition(catalog: Path, tmp_path: Path):
    add_prompt_version(catalog)
    node = definitions(catalog, tmp_path).resolve_asset_graph().get(dg.AssetKey(["prompts", "backtest_narrative"]))
    assert node.partitions_def is not None
    assert list(node.partitions_def.get_partition_keys()) == ["1.0.0", "1.1.0"]


TYPOS = {
    "view": (
        "models/signal_classifier.yaml",
        "momentum.rsi_14",
        "momentun.rsi_14",
        "training_set.features",
        "momentum",
    ),
    "column": ("models/signal_classifier.yaml", "momentum.rsi_14", "momentum.rsi14", "training_set.features", "rsi_14"),
    "strategy": ("scenarios/covid_crash.yaml", "buy_and_hold", "buy_and_hodl", "baselines", "buy_and_hold"),
    "model": ("strategies/signal_ml.py", '"signal_classifier"', '"signal_clasifier"', "model", "signal_classifier"),
    "scenario": (
        "prompts/backtest_narrative/1.0.0.md",
        "report: covid_crash",
        "report: covid_crush",
        "report",
        "covid_crash",
    ),
    "policy": ("prompts/backtest_narrative/1.0.0.md", "PROM-01,", "PROM-O1,", "policies", "PROM-01"),
}


@pytest.mark.parametrize("what", sorted(TYPOS))
def test_a_typo_in_a_reference_names_file_field_and_near_miss(catalog: Path, what: str):
    file, right, wrong, field, near = TYPOS[what]
    copy_with(catalog / file, catalog / file, (right, wrong))
    with pytest.raises(UnknownReference) as raised:
        load_catalogue(catalog)
    message = str(raised.value)
    assert str(catalog / file) in message
    assert f"field {field!r}" in message
    assert near in raised.value.near


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("feature_views/broken.py", "VIEW = (", "SyntaxError"),
        ("feature_views/broken.py", "import numpyy", "ModuleNotFoundError"),
        ("feature_views/broken.py", "VIEW = 3", "it holds int, not a FeatureView"),
        ("strategies/broken.py", "", "it holds NoneType, not a Strategy"),
        ("models/broken.yaml", "name: broken\nname: broken", "appears twice"),
        ("models/broken.yaml", "- a", "not a mapping"),
        ("scenarios/broken.yaml", "nam: broken", "nam"),
        ("prompts/p/1.0.0.md", "no front matter", "1.0.0.md"),
    ],
)
def test_a_broken_file_is_named(catalog: Path, file: str, content: str, message: str):
    (catalog / file).parent.mkdir(exist_ok=True)
    (catalog / file).write_text(content, encoding="utf-8")
    with pytest.raises(InvalidDeclaration, match=message) as raised:
        load_catalogue(catalog)
    assert str(catalog / file) in str(raised.value)


def test_a_name_must_be_its_files_name(catalog: Path):
    shutil.copy(catalog / "scenarios" / "covid_crash.yaml", catalog / "scenarios" / "again.yaml")
    with pytest.raises(InvalidDeclaration, match=r"Rename the file to covid_crash.yaml"):
        load_catalogue(catalog)


def test_files_that_begin_with_an_underscore_are_left_alone(catalog: Path):
    (catalog / "models" / "_draft.yaml").write_text("not ready", encoding="utf-8")
    assert load_catalogue(catalog).count() == load_catalogue(SHIPPED).count()


def test_a_missing_folder_says_which_setting_to_correct(tmp_path: Path):
    with pytest.raises(InvalidDeclaration, match="MLOPS_CATALOG_PATH"):
        load_catalogue(tmp_path / "nowhere")
