"""What is said in two places is the same in both."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import dagster as dg
import yaml

from mlops_assets.rest.health import API_VERSION
from tests.house.project import ROOT, pyproject


def test_workspace_and_dg_load_the_same_code_location():
    (module,) = (one["python_module"] for one in yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"])
    project = pyproject()["tool"]["dg"]["project"]
    assert module["module_name"] == project["code_location_target_module"]
    assert module["location_name"] == project["code_location_name"]


def test_the_api_has_the_version_of_the_project():
    assert pyproject()["project"]["version"] == API_VERSION


def test_the_entry_script_exists():
    module, _, function = pyproject()["project"]["scripts"]["mlops"].partition(":")
    imported = __import__(module, fromlist=[function])
    assert callable(getattr(imported, function))


def test_dagster_accepts_its_settings_without_a_warning(tmp_path: Path):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            assert instance.run_monitoring_enabled
            assert not instance.telemetry_enabled
            assert not instance.nux_enabled
