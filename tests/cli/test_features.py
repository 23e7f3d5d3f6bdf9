"""`mlops features` answers from the catalogue and the stores, and moves a view through its life."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from mlops_assets import settings
from mlops_assets.catalog.feature_users import readers_of
from mlops_assets.features.view import compute_view
from mlops_assets.kernel.clock import SystemClock
from mlops_assets.kernel.identity import Role
from mlops_assets.settings import load_settings
from mlops_assets.storage.parquet.snapshots import Provenance, Snapshot
from tests.cli.people import sign_in_as
from tests.rest.client import Services, request_deployment

TEMPO = '''"""A view of the tests."""

from pathlib import Path

import polars as pl

from mlops_assets.features.spec import Feature, FeatureView

PRICE = pl.col("adjusted_close")

VIEW = FeatureView(
    name="tempo",
    version="1.0.0",
    owner="team:speed",
    description="How fast prices run.",
    warm_up_bars=2,
    columns=(
        Feature(
            name="pace",
            expr=PRICE / PRICE.shift(1) - 1,
            unit="fraction",
            minimum=-1.0,
            formula="P[t] / P[t-1] - 1",
            description="Return over one session.",
        ),
        Feature(name="price_twice", expr=PRICE * 2, unit="USD", description="Twice the price."),
    ),
    tags=("speed",),
    declared_in=Path(__file__),
)
'''

HASTE = '''"""A view of the tests that reads another."""

from pathlib import Path

import polars as pl

from mlops_assets.features.spec import Feature, FeatureView

VIEW = FeatureView(
    name="haste",
    version="1.0.0",
    owner="team:speed",
    description="How fast the pace changes.",
    warm_up_bars=3,
    columns=(Feature(name="hurry", expr=pl.col("tempo.pace").diff(), unit="fraction", description="Change of pace."),),
    declared_in=Path(__file__),
)
'''


@pytest.fixture
def mlops(mlops):
    """Run `mlops features …`."""
    return lambda *arguments: mlops("features", *arguments)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled catalogue, without what is released, and two small views more."""
    copied = tmp_path / "catalog"
    shutil.copytree(settings.PACKAGE / "catalog", copied, ignore=shutil.ignore_patterns("__pycache__", "released"))
    (copied / "feature_views" / "tempo.py").write_text(TEMPO, encoding="utf-8")
    (copied / "feature_views" / "haste.py").write_text(HASTE, encoding="utf-8")
    monkeypatch.setenv("MLOPS_CATALOG_PATH", str(copied))
    return copied


@pytest.fixture
def services(tmp_path: Path, catalog: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    made = Services(load_settings(home=tmp_path / "home", catalog_path=catalog), SystemClock())
    made.settings.home.mkdir(parents=True)
    made.database.migrate()
    monkeypatch.setenv("MLOPS_HOME", str(made.settings.home))
    sign_in_as(made, monkeypatch, "ann", Role.DATA_ENGINEER)
    return made


def bars(count: int = 5) -> pl.DataFrame:
    days = [date(2026, 1, 5) + timedelta(days=number) for number in range(count)]
    closes = [datetime(day.year, day.month, day.day, 21, tzinfo=UTC) for day in days]
    return pl.DataFrame(
        {
            "symbol": "AAPL",
            "date": days,
            "event_at": closes,
            "known_at": [close + timedelta(hours=1) for close in closes],
            "adjusted_close": [100.0, 110.0, 99.0, 99.0, 198.0][:count],
            "is_index": False,
        },
        schema_overrides={"event_at": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")},
    )


def publish(services: Services, *, certified: bool = True, scale: float = 1.0, version: str = "1.0.0") -> Snapshot:
    """Publish tempo as its asset does, and keep a clean certificate of it."""
    view = services.catalogue.feature_views["tempo"]
    values = compute_view(view, bars()).with_columns(pl.col("pace") * scale)
    published = services.snapshots.publish(
        view.dataset,
        values.to_arrow(compat_level=pl.CompatLevel.oldest()),
        provenance=Provenance(
            code_version="1",
            inputs={"market/bars": "b" * 64},
            details={
                "view_version": version,
                "unavailable": {"price_twice": ["close"]},
                "statistics": {"pace": {"count": 4, "nulls": 1, "mean": 0.25}},
            },
        ),
        actor="dagster",
    )
    if certified:
        services.feature_registry.record_certificate(
            view="tempo",
            version=version,
            snapshot_fingerprint=published.fingerprint,
            bars_fingerprint="b" * 64,
            cuts=["2026-01-06"],
            rows_compared=10,
            peeks=[],
            is_clean=True,
            actor="dagster",
        )
    return published


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("show", "tempo"), ("show", "tempo.pace"), ("search", "pace"), ("lineage", "tempo.pace")],
    ids=" ".join,
)
def test_every_answer_has_a_table_and_json(mlops, services: Services, arguments: tuple[str, ...]):
    publish(services)
    table = mlops(*arguments)
    assert (table.code, table.err) == (0, "")
    assert "pace" in table.out or "tempo" in table.out
    assert mlops(*arguments, "--json").json


def test_the_list_says_where_each_view_stands(mlops, services: Services):
    publish(services)
    (row,) = [one for one in mlops("list", "--json").json if one["name"] == "tempo"]
    assert row["status"] == "draft"
    assert (row["version"], row["owner"], row["columns"], row["rows"]) == ("1.0.0", "team:speed", 2, 5)
    assert (row["last_session"], row["unavailable"]) == ("2026-01-09", ["price_twice"])
    (other,) = [one for one in mlops("list", "--json").json if one["name"] == "haste"]
    assert (other["rows"], other["freshness"]) == (None, "not published")


def test_what_to_mind_of_a_view_stands_below_the_list(mlops, services: Services):
    assert mlops("release", "tempo").code == 0
    publish(services)
    assert mlops("activate", "tempo").code == 0
    assert mlops("deprecate", "tempo", "--reason", "too fast", "--successor", "momentum").code == 0
    (row,) = [one for one in mlops("list", "--json").json if one["name"] == "tempo"]
    sentences = ["deprecated, use momentum; read by view haste", "null, for the source has no close: price_twice"]
    assert row["to_mind"] == sentences
    assert mlops("show", "tempo", "--json").json["to_mind"] == sentences
    listed = mlops("list", "--owner", "team:speed").out
    assert "; ".join(sentences) in " ".join(listed.replace("│", " ").split())
    publish(services, certified=False, scale=-9.0)
    (row,) = [one for one in mlops("list", "--json").json if one["name"] == "tempo"]
    assert (row["status"], row["to_mind"][0]) == ("deprecated", "no look-ahead certificate of what is published")


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [(("--owner", "team:speed"), {"tempo", "haste"}), (("--tag", "speed"), {"tempo"}), (("--status", "active"), set())],
)
def test_filters_choose(mlops, filters: tuple[str, str], expected: set[str]):
    assert {row["name"] for row in mlops("list", *filters, "--json").json} == expected


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (("list", "--owner", "team:sped"), "'team:speed'"),
        (("list", "--tag", "sped"), "'speed'"),
        (("list", "--status", "activ"), "'active'"),
        (("show", "temp"), "'tempo'"),
        (("show", "tempo.pac"), "'pace'"),
        (("show", "price_twic"), "'price_twice'"),
        (("lineage", "hast.hurry"), "'haste'"),
        (("activate", "temp"), "'tempo'"),
        (("search", "tempp"), "tempo"),
        (("deprecate", "tempo", "--reason", "old", "--successor", "hast"), "'haste'"),
    ],
)
def test_what_does_not_exist_is_one_line_with_its_near_miss(mlops, arguments: tuple[str, ...], near: str):
    answer = mlops(*arguments)
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert near in answer.err
    assert "<" not in answer.err


def test_a_column_shows_what_it_is_and_what_it_leads_to(mlops, services: Services):
    publish(services)
    shown = mlops("show", "tempo.pace", "--json").json
    assert (shown["unit"], shown["range"], shown["formula"]) == ("fraction", "at least -1", "P[t] / P[t-1] - 1")
    assert (shown["ttl_days"], shown["owner"]) == (7.0, "team:speed")
    assert shown["statistics"] == [{"column": "pace", "count": 4, "nulls": 1, "mean": 0.25}]
    assert [one["dataset"] for one in shown["lineage"]["upstream"]["branches"]] == ["market/bars"]
    (reader,) = shown["lineage"]["downstream"]["branches"]
    assert (reader["dataset"], reader["columns"]) == ("features/haste", ["hurry"])
    assert mlops("show", "price_twice", "--json").json["unavailable"] == "no close"
    assert mlops("show", "pace", "--json").json == shown


def test_a_view_shows_its_lag_its_certificate_and_its_history(mlops, services: Services):
    published = publish(services)
    shown = mlops("show", "tempo", "--json").json
    assert (shown["publication_lag_minutes"], shown["ttl_days"], shown["look_ahead"]) == (60.0, 7.0, "clean")
    assert (shown["snapshot_fingerprint"], shown["snapshot_view_version"]) == (published.fingerprint, "1.0.0")
    assert [one["what"] for one in shown["history"]] == ["look-ahead certificate of 1.0.0: clean, 1 cuts"]


@pytest.mark.usefixtures("services")
def test_the_model_that_reads_a_column_stands_among_its_users(mlops):
    (user,) = mlops("show", "momentum.rsi_14", "--json").json["users"]
    assert (user["model"], user["version"], user["training_set"]) == (
        "signal_classifier",
        None,
        "datasets/signal_daily",
    )
    assert "rsi_14" in user["columns"]


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("tempo",), "tempo"),
        (("pace",), "tempo.pace"),
        (("twice", "price"), "tempo.price_twice"),
        (("team:speed",), "tempo"),
        (("모멘텀이",), "momentum"),
    ],
)
def test_words_find_views_and_columns_in_both_languages(mlops, words: tuple[str, ...], first: str):
    assert mlops("search", *words, "--json").json[0]["name"] == first


@pytest.mark.usefixtures("catalog")
def test_searching_and_lineage_need_no_installation(mlops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "nothing"))
    assert mlops("search", "pace").code == 0
    assert mlops("lineage", "haste.hurry", "--json").json["upstream"]["branches"][0]["dataset"] == "features/tempo"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.usefixtures("services")
def test_a_korean_word_finds_what_it_means(mlops):
    names = {row["name"] for row in mlops("search", "수익률", "--json").json}
    assert {"tempo.pace", "momentum.return_1d"} <= names


def test_an_activation_names_everything_that_stops_it(mlops, services: Services):
    publish(services, certified=False, scale=-9.0, version="0.9.0")
    answer = mlops("activate", "tempo")
    assert (answer.code, answer.err.split(":")[0]) == (1, "error [activation_blocked]")
    for reason in ("not released", "version 0.9.0, not 1.0.0", "pace has 1 values out of range", "no look-ahead"):
        assert reason in answer.err
    assert mlops("show", "tempo", "--json").json["status"] == "draft"


def test_a_released_and_certified_view_lives_its_life(mlops, services: Services):
    assert mlops("release", "tempo").code == 0
    publish(services)
    assert mlops("archive", "tempo").err.startswith("error [conflict]: feature view tempo is draft")
    activated = mlops("activate", "tempo", "--reason", "validated", "--json").json
    assert (activated["status"], activated["active_version"]) == ("active", "1.0.0")
    assert mlops("activate", "tempo", "--json").json == activated
    assert mlops("deprecate", "tempo", "--json").code == 2
    deprecated = mlops("deprecate", "tempo", "--reason", "too fast", "--successor", "momentum", "--json").json
    assert (deprecated["status"], deprecated["successor"]) == ("deprecated", "momentum")
    refused = mlops("archive", "tempo")
    assert (refused.code, refused.err.split(":")[0]) == (1, "error [still_read]")
    assert "feature view haste" in refused.err
    services.settings.catalog_path.joinpath("feature_views", "haste.py").unlink()
    assert mlops("archive", "tempo", "--json").json["status"] == "archived"
    shown = mlops("show", "tempo", "--json").json
    assert shown["released_versions"] == ["1.0.0"]
    assert [(one["actor"], one["what"], one["reason"]) for one in shown["history"][1:]] == [
        ("ann", "version 1.0.0 registered", ""),
        ("ann", "draft → active, version 1.0.0", "validated"),
        ("ann", "active → deprecated, use momentum", "too fast"),
        ("ann", "deprecated → archived, use momentum", ""),
    ]
    assert services.ledger.verify().is_intact


def test_a_model_and_its_deployment_keep_a_view_from_the_archive(mlops, services: Services):
    request_deployment(services, features=["rsi_14"])
    (deployment,) = services.deployments.list()
    readers = readers_of(
        "momentum",
        services.catalogue,
        archived={"cross_section"},
        versions=services.models.list(),
        deployments=services.deployments.list(),
        snapshots=services.snapshots,
    )
    assert {
        "training set signal_daily",
        "model signal_classifier",
        f"deployment {deployment.id[:12]} (signal_classifier@1 in staging)",
    } <= set(readers)
    assert "feature view cross_section" not in readers
    (user,) = mlops("show", "momentum.rsi_14", "--json").json["users"]
    assert (user["version"], user["deployments"]) == (1, ["staging: in_review"])


def test_an_older_major_version_shares_the_life_of_its_view(mlops, services: Services, catalog: Path):
    views = catalog / "feature_views"
    assert mlops("release", "tempo").code == 0
    (views / "tempo.py").write_text(TEMPO.replace('version="1.0.0"', 'version="2.0.0"'), encoding="utf-8")
    (views / "haste.py").write_text(HASTE.replace("tempo.pace", "tempo_v1.pace"), encoding="utf-8")
    rows = {row["name"]: row for row in mlops("list", "--json").json}
    assert (rows["tempo"]["version"], rows["tempo_v1"]["version"]) == ("2.0.0", "1.0.0")
    refused = mlops("activate", "tempo_v1")
    assert (refused.code, refused.err.split(":")[0]) == (1, "error [conflict]")
    assert "`mlops features retire tempo 1`" in refused.err
    readers = readers_of(
        "tempo", services.catalogue, archived=set(), versions=[], deployments=[], snapshots=services.snapshots
    )
    assert readers == ["feature view haste"]
    assert mlops("show", "tempo_v1", "--json").json["released_versions"] == ["1.0.0"]


def test_importance_is_that_of_exactly_this_version(mlops, services: Services):
    version = request_deployment(services, features=["rsi_14", "return_1d"])
    _explain(services, of="0" * 64, rsi=[9.0, 9.0], one_day=[1.0, 1.0])
    (user,) = mlops("show", "momentum.rsi_14", "--json").json["users"]
    assert user["importance"] == {}
    _explain(services, of=version.fingerprint, rsi=[0.2, -0.4], one_day=[0.1, 0.1])
    (user,) = mlops("show", "momentum.rsi_14", "--json").json["users"]
    # mean |SHAP| is 0.3 and 0.1: shares of three quarters and one quarter
    assert user["importance"] == {"rsi_14": 0.75, "return_1d": 0.25}


def _explain(services: Services, *, of: str, rsi: list[float], one_day: list[float]) -> None:
    services.snapshots.publish(
        "explanations/signal_classifier",
        pa.table({"shap_rsi_14": rsi, "shap_return_1d": one_day}),
        provenance=Provenance(code_version="1", inputs={"models/signal_classifier": of}),
        actor="dagster",
    )
