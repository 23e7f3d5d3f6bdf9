from pathlib import Path

import pytest
import yaml

from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.lifecycle.spec import ModelSpec
from tests.lifecycle.worlds import DECLARATION, declared, spec


def test_the_declared_model_reads_as_it_is_written():
    one = spec()
    assert one.features == ("return_1d", "return_5d", "return_20d", "momentum_12_1", "rsi_14")
    assert one.training_set.dataset == "datasets/signal_daily"
    assert (one.dataset, one.predictions) == ("models/signal_classifier", "predictions/signal_classifier")


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"parms": {}}, "parms", "params"),
        ({"baseline": {"momentun": "return_20d"}}, "baseline", "momentum"),
        ({"baseline": {"momentum": "return_20"}}, "baseline.momentum", "return_20d"),
        ({"version": "1"}, "version", "1.0.0"),
        ({"seed": -1}, "seed", "-1"),
        ({"buckets": {"strong_sell": 0.25, "sell": 0.4, "buy": 0.9, "strong_buy": 0.75}}, "buckets", "rise"),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_a_remedy(change: dict, field: str, hint: str):
    with pytest.raises(InvalidDeclaration) as caught:
        spec(**change)
    assert caught.value.file.endswith("signal_classifier.yaml")
    assert caught.value.field.startswith(field)
    assert hint in str(caught.value)


def test_a_parameter_that_would_break_repeatability_is_not_a_field():
    with pytest.raises(InvalidDeclaration, match=r"params\.num_threads"):
        spec(params={**declared()["params"], "num_threads": 8})


def test_the_fingerprint_follows_the_meaning_and_not_the_file(tmp_path: Path):
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text("# another comment\n" + DECLARATION.read_text(encoding="utf-8"), encoding="utf-8")
    again = ModelSpec.from_mapping(yaml.safe_load(moved.read_text(encoding="utf-8")), moved)
    assert again.fingerprint == spec().fingerprint
    assert spec(seed=8).fingerprint != spec().fingerprint
