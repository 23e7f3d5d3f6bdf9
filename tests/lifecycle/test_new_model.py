"""The file that a new model starts from is whole but for what its author alone can say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import get_args

import pytest
import yaml

from mlops_assets.catalog.loader import load_catalogue
from mlops_assets.graph import build_defs
from mlops_assets.kernel.errors import Conflict, InvalidDeclaration
from mlops_assets.kernel.strict_yaml import read_file
from mlops_assets.lifecycle.learner import Kind
from mlops_assets.lifecycle.new_model import InvalidName, draft, start_model
from mlops_assets.lifecycle.spec import unwritten
from mlops_assets.services import ServiceFactory
from mlops_assets.settings import PACKAGE, load_settings

SAID = [
    "description",
    "purpose",
    "scope",
    "assumptions.0",
    "limitations.0",
    "training_set.description",
]


@pytest.fixture(params=get_args(Kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PACKAGE / "catalog", tmp_path / "catalog"))


def _written(file: Path) -> None:
    file.write_text(re.sub(r"TODO (.*)", r"Written, as \1", file.read_text("utf-8")), encoding="utf-8")


def test_the_file_with_its_sentences_written_is_a_model_of_the_catalogue(catalogue: Path, kind: Kind):
    file = start_model(catalogue, name="my_model", kind=kind, owner="team:alpha")
    _written(file)
    model = load_catalogue(catalogue).models["my_model"]
    assert (model.kind, model.owner, model.declared_in) == (kind, "team:alpha", file)
    assert model.search is not None


def test_the_file_as_it_is_written_is_refused_with_all_that_is_left_to_say(catalogue: Path, kind: Kind):
    file = start_model(catalogue, name="my_model", kind=kind, owner="team:alpha")
    assert unwritten(read_file(file, remedy="")) == SAID
    with pytest.raises(InvalidDeclaration) as caught:
        load_catalogue(catalogue)
    assert (caught.value.file, caught.value.field) == (str(file), "description")
    assert all(place in str(caught.value) for place in SAID)
    _written(file)
    file.write_text(file.read_text("utf-8").replace("  - Written, as What it does", "  - TODO What it does"), "utf-8")
    with pytest.raises(InvalidDeclaration, match=r"field 'limitations.0': still to be written: limitations\.0\."):
        load_catalogue(catalogue)


def test_each_block_says_what_it_is_for(kind: Kind):
    text = draft("my_model", kind, "team:alpha")
    blocks = [line.removesuffix(":") for line in text.splitlines() if re.fullmatch(r"[a-z_]+:", line)]
    lines = text.splitlines()
    assert {"training_set", "learner", "walk_forward", "monitoring", "deployment", "retraining", "search"} <= {*blocks}
    for block in set(blocks) - {"assumptions", "limitations"}:
        assert lines[lines.index(f"{block}:") - 1].startswith("# "), block
    assert set(yaml.safe_load(text)["search"]["space"]) <= set(yaml.safe_load(text)["learner"]["params"]) | {
        "lambda_l2"
    }


def test_the_graph_holds_the_new_model(catalogue: Path, tmp_path: Path):
    _written(start_model(catalogue, name="my_model", kind="forecast", owner="quant@example.com"))
    services = ServiceFactory(load_settings(home=tmp_path / "home", catalog_path=catalogue, source="sample"))
    keys = {key.to_user_string() for key in build_defs(services).resolve_asset_graph().get_all_asset_keys()}
    assert {"models/my_model", "predictions/my_model", "datasets/my_model_rows", "deployments/my_model"} <= keys


def test_a_model_that_is_there_keeps_its_file(catalogue: Path):
    before = (catalogue / "models" / "signal_classifier.yaml").read_bytes()
    with pytest.raises(Conflict, match=r"signal_classifier\.yaml is there already"):
        start_model(catalogue, name="signal_classifier", kind="regime", owner="team:quant")
    assert (catalogue / "models" / "signal_classifier.yaml").read_bytes() == before
    assert not list((catalogue / "models").glob(".tmp-*"))


@pytest.mark.parametrize(
    "name", ["", "No", "no", "1st_model", "a/b", "../../evil", "a" * 61, "naïve_model", "a_b\n", "null", "yes"]
)
def test_a_bad_name_writes_nothing(catalogue: Path, name: str):
    before = sorted(catalogue.rglob("*"))
    with pytest.raises(InvalidName, match="a-z"):
        start_model(catalogue, name=name, kind="policy", owner="team:quant")
    assert sorted(catalogue.rglob("*")) == before


@pytest.mark.parametrize("owner", ["", "quant", "team:", "team:a b", "a@b", "x\nname: y", "*a@b.c", "#a@b.c", "{a@b.c"])
def test_a_bad_owner_writes_nothing(catalogue: Path, owner: str):
    with pytest.raises(InvalidName, match="team:quant"):
        start_model(catalogue, name="my_model", kind="policy", owner=owner)
    assert not (catalogue / "models" / "my_model.yaml").exists()
