"""Settings come from the environment, typed, and say in words what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops_assets.settings import (
    InvalidSettings,
    checking_environment,
    load_settings,
    process_environment,
    wants_tracebacks,
)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("MLOPS_")]:
        monkeypatch.delenv(name)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))


def test_stores_lie_in_the_home_unless_told_otherwise(tmp_path: Path):
    settings = load_settings()
    assert settings.database_url == f"sqlite:///{(tmp_path / 'home').as_posix()}/platform.db"
    assert settings.dagster_home == tmp_path / "home" / "dagster"


def test_a_clone_keeps_its_home_beside_pyproject(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLOPS_HOME")
    assert load_settings().home == Path(__file__).parents[1] / ".mlops"


@pytest.mark.parametrize(
    ("variables", "locale"),
    [
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "ko_KR.UTF-8", "MLOPS_LOCALE": "en"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_that_of_the_locale(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], locale: str):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().locale == locale


def test_a_problem_is_worded_for_people(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_URL", "http://hooks.example.com/x")
    monkeypatch.setenv("MLOPS_ALERT_WEBHOOK_SECRET", "abc")
    with pytest.raises(InvalidSettings, match=r"^MLOPS_ALERT_WEBHOOK_URL: a webhook's address") as raised:
        load_settings()
    assert "abc" not in str(raised.value)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_SOURCE_INDEX_SYMBOLS", "SPY, QQQ,")
    assert load_settings().source_index_symbols == ("SPY", "QQQ")


def test_who_acts_here_is_not_handed_to_the_services(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_TOKEN", "hush")
    settings = load_settings()
    assert "hush" not in repr(settings)
    assert "hush" not in process_environment(settings).values()


def test_every_wrong_variable_is_named_with_what_was_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_UI_PORT", "many")
    monkeypatch.setenv("MLOPS_SOURCE", "bloomberg")
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert "MLOPS_UI_PORT" in str(caught.value)
    assert "'many'" in str(caught.value)
    assert "MLOPS_SOURCE" in str(caught.value)
    assert "DATABASE_URL" not in str(caught.value)


def test_a_source_without_its_key_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_SOURCE", "alpha_vantage")
    with pytest.raises(InvalidSettings, match="MLOPS_ALPHA_VANTAGE_API_KEY"):
        load_settings()


def test_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_ALPHA_VANTAGE_API_KEY", "hush")
    assert "hush" not in repr(load_settings())


FOLDER_DEPENDENT = {
    "MLOPS_HOME": "home",
    "MLOPS_CATALOG_PATH": "declared",
    "MLOPS_SOURCE_FOLDER": "bars",
    "MLOPS_DATABASE_URL": "sqlite:///data/platform.db",
    "MLOPS_MLFLOW_TRACKING_URI": "sqlite:///mlflow.db?timeout=5",
}


def test_a_child_in_another_folder_sees_the_same_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, value in {**FOLDER_DEPENDENT, "MLOPS_SOURCE": "folder"}.items():
        monkeypatch.setenv(name, value)
    ours = load_settings()
    assert ours.database_url == f"sqlite:///{(tmp_path / 'data' / 'platform.db').as_posix()}"
    assert ours.mlflow_tracking_uri == f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}?timeout=5"
    for name, value in process_environment(ours).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_settings() == ours
    assert ours.source_folder == tmp_path / "bars"


def test_a_child_is_told_no_source_folder_where_there_is_none():
    assert "MLOPS_SOURCE_FOLDER" not in load_settings().as_environment()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/platform.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:shared?mode=memory&uri=true",
        "postgresql+psycopg://user:secret@db/platform",
    ],
)
def test_an_address_that_depends_on_no_folder_stays(url: str):
    assert load_settings(database_url=url).database_url == url


def test_a_driver_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    url = load_settings(database_url="sqlite+pysqlite:///platform.db").database_url
    assert url == f"sqlite+pysqlite:///{(tmp_path / 'platform.db').as_posix()}"


def test_a_tilde_is_the_home_folder():
    assert load_settings(database_url="sqlite:///~/p.db").database_url == f"sqlite:///{Path.home().as_posix()}/p.db"


@pytest.mark.parametrize(
    ("variables", "is_wanted"),
    [({}, False), ({"MLOPS_DEBUG": "1"}, True), ({"MLOPS_DEBUG": "1", "MLOPS_UI_PORT": "many"}, False)],
)
def test_tracebacks_are_shown_on_request(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_wanted: bool):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wants_tracebacks() is is_wanted


def test_a_child_sees_the_same_home_and_a_check_sees_another(tmp_path: Path):
    settings = load_settings()
    assert process_environment(settings)["MLOPS_HOME"] == str(settings.home)
    assert process_environment(settings)["DAGSTER_HOME"] == str(settings.dagster_home)
    checking = checking_environment(tmp_path / "other")
    assert checking["MLOPS_HOME"] == str(tmp_path / "other")
    assert "DAGSTER_HOME" not in checking
