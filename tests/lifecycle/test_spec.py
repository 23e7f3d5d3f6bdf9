import json
from pathlib import Path

import pytest
import yaml

from mlops_assets.features.spec import Folds
from mlops_assets.kernel.errors import InvalidDeclaration
from mlops_assets.lifecycle.spec import ModelSpec
from tests.lifecycle.worlds import DECLARATION, declared, spec


def learner(**changes: object) -> dict[str, object]:
    return {**declared()["learner"], **changes}


def test_the_declared_model_reads_as_it_is_written():
    one = spec()
    assert one.features == ("return_1d", "return_5d", "return_20d", "momentum_12_1", "rsi_14")
    assert one.training_set.dataset == "datasets/signal_daily"
    assert (one.dataset, one.predictions) == ("models/signal_classifier", "predictions/signal_classifier")


@pytest.mark.parametrize(
    ("change", "field", "hint"),
    [
        ({"learnr": {}}, "learnr", "learner"),
        ({"kind": "clasifier"}, "kind", "classifier"),
        ({"kind": None}, "kind", "classifier"),
        ({"learner": learner(baseline={"momentun": "return_20d"})}, "learner.baseline", "momentum"),
        ({"learner": learner(baseline={"momentum": "return_20"})}, "learner.baseline.momentum", "return_20d"),
        ({"search": {"trials": 3, "space": {"num_leafs": {"low": 2, "high": 9}}}}, "search.space", "num_leaves"),
        ({"search": {"trials": 3, "space": {"num_leaves": {"low": 9, "high": 2}}}}, "search.space", "below high"),
        ({"limitations": []}, "limitations", "correct"),
        ({"version": "1"}, "version", "1.0.0"),
        ({"seed": -1}, "seed", "-1"),
        ({"seed": 2**31}, "seed", "2147483648"),
        (
            {"learner": learner(buckets={"strong_sell": 0.25, "sell": 0.4, "buy": 0.9, "strong_buy": 0.75})},
            "learner.buckets",
            "rise",
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_a_remedy(change: dict, field: str, hint: str):
    with pytest.raises(InvalidDeclaration) as caught:
        spec(**change)
    assert caught.value.file.endswith("signal_classifier.yaml")
    assert caught.value.field.startswith(field)
    assert hint in str(caught.value)


def test_a_parameter_that_would_break_repeatability_is_not_a_field():
    with pytest.raises(InvalidDeclaration, match=r"learner\.params\.num_threads"):
        spec(learner=learner(params={**declared()["learner"]["params"], "num_threads": 8}))


def test_the_fingerprint_follows_the_meaning_and_not_the_file(tmp_path: Path):
    moved = tmp_path / "elsewhere.yaml"
    moved.write_text("# another comment\n" + DECLARATION.read_text(encoding="utf-8"), encoding="utf-8")
    again = ModelSpec.from_mapping(yaml.safe_load(moved.read_text(encoding="utf-8")), moved)
    assert again.fingerprint == spec().fingerprint
    assert spec(seed=8).fingerprint != spec().fingerprint


def test_a_declaration_survives_json(tmp_path: Path):
    kept = json.loads(json.dumps(spec().declaration))
    assert ModelSpec.from_mapping(kept, tmp_path / "signal_classifier.yaml").fingerprint == spec().fingerprint


def test_when_it_is_trained_again_and_what_a_sweep_tries_make_no_other_model():
    other = spec(retraining={**declared()["retraining"], "cron": "0 0 * * 0"}, search=None)
    assert other.fingerprint == spec().fingerprint
    assert spec(purpose="Something else altogether.").fingerprint != spec().fingerprint


def test_training_again_teaches_every_shipped_model_but_the_one_whose_scenario_holds_its_test_fold():
    catalogue = DECLARATION.parent
    specs = [ModelSpec.from_mapping(yaml.safe_load(one.read_text("utf-8")), one) for one in catalogue.glob("*.yaml")]
    dated = [one.name for one in specs if isinstance(one.training_set.folds, Folds)]
    assert len(specs) == 4
    assert dated == ["signal_classifier"]
