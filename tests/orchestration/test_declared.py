from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

from mlops_assets.kernel.columns import Column
from mlops_assets.orchestration.declared import asset_metadata, code_version, engine_versions, key

RULES = "mlops_assets.features.indicators"


def test_a_key_has_a_part_for_each_segment_of_the_dataset():
    assert key("evaluation/covid_crash/signal_ml") == dg.AssetKey(["evaluation", "covid_crash", "signal_ml"])


def test_a_code_version_moves_with_the_declaration_and_with_the_rules():
    known = {code_version("a", RULES), code_version("b", RULES), code_version("a", "mlops_assets.features.view")}
    assert len(known) == 3
    assert code_version("a", RULES) in known


def test_a_code_version_names_the_engines_that_are_installed():
    assert engine_versions()["polars"] == pl.__version__
    assert engine_versions()["numpy"] == np.__version__


def test_a_code_version_needs_no_import_of_the_rules():
    code = "import sys; from mlops_assets.orchestration.declared import code_version"
    run = f"{code}; code_version('a', 'mlops_assets.lifecycle.training.folds'); print('lightgbm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True).stdout == "False\n"


def test_metadata_describes_columns_with_unit_range_and_source():
    column = Column(name="rsi", type="float", unit="points", description="Strength.", formula="Wilder", maximum=100.0)
    metadata = asset_metadata(
        file=Path("views/momentum.py"), columns=[column], lineage={"rsi": [("market/bars", "close")]}
    )
    (described,) = metadata["dagster/column_schema"].columns
    assert (described.name, described.type, described.description) == ("rsi", "float", "Strength. Unit: points. Wilder")
    assert described.constraints.other == ["<= 100"]
    assert not described.constraints.nullable
    (source,) = metadata["dagster/column_lineage"].deps_by_column["rsi"]
    assert (source.asset_key, source.column_name) == (dg.AssetKey(["market", "bars"]), "close")
    assert metadata["dagster/code_references"].code_references[0].file_path == "views/momentum.py"
