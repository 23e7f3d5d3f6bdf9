from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import sqlalchemy as sa

from mlops_assets.kernel.change import Change
from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.lifecycle.candidate import train_candidate
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.template import IncompleteMetadata
from mlops_assets.lifecycle.tracking import RunKey
from mlops_assets.storage.sql.tables import model_version
from tests.lifecycle.worlds import NOW, Stores, small_spec, stores, training_set

CODE, DATA = "c" * 64, "d" * 64


@pytest.fixture(scope="module")
def candidate():
    return train_candidate(training_set(), small_spec())


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    return stores(tmp_path)


def _register(kept: Stores, candidate, *, data: str = DATA, drop: tuple[str, ...] = (), **wrong: Any) -> ModelVersion:
    metadata = candidate.metadata(small_spec(), training_set_fingerprint=data, code_version=CODE)
    metadata = {name: value for name, value in {**metadata, **wrong}.items() if name not in drop}
    key = RunKey(asset="models/signal_classifier", root_run_id="root")
    with kept.tracking.run(key, experiment="models/signal_classifier", tags={}) as run:
        run.log_lightgbm(candidate.fit.text)
        return kept.models.register(
            model="signal_classifier",
            kind="classifier",
            text=candidate.fit.text,
            training_set_fingerprint=data,
            code_version=CODE,
            run_id=run.id,
            metadata=metadata,
            metrics=candidate.metrics(),
            actor="dagster",
        )


def test_the_same_artifact_data_and_code_are_one_version(kept: Stores, candidate):
    first, again, other = (_register(kept, candidate, data=data) for data in (DATA, DATA, "e" * 64))
    assert (first.version, again.version, other.version) == (1, 1, 2)
    assert first == again
    assert kept.models.latest("signal_classifier") == other
    assert kept.models.list(model="signal_classifier") == [first, other]


def test_each_version_that_becomes_the_latest_has_one_entry_in_the_ledger(kept: Stores, candidate):
    first, _again, second, _once_more, back = (
        _register(kept, candidate, data=data) for data in (DATA, DATA, "e" * 64, "e" * 64, DATA)
    )
    assert back == first
    entries = list(kept.ledger.entries(action="model_version.register"))
    assert [(entry.before, entry.after, entry.subject) for entry in entries] == [
        (None, first.fingerprint, "models/signal_classifier@1"),
        (first.fingerprint, second.fingerprint, "models/signal_classifier@2"),
        (second.fingerprint, first.fingerprint, "models/signal_classifier@1"),
    ]
    assert kept.ledger.verify().is_intact


def test_a_version_that_is_registered_again_is_the_latest_again(kept: Stores, candidate):
    first, second = (_register(kept, candidate, data=data) for data in (DATA, "e" * 64))
    assert kept.models.latest("signal_classifier") == second
    _register(kept, candidate)
    assert kept.models.latest("signal_classifier") == first
    third = _register(kept, candidate, data="f" * 64)
    assert (third.version, kept.models.latest("signal_classifier")) == (3, third)


def test_the_latest_of_a_model_is_not_that_of_one_whose_name_begins_alike(kept: Stores):
    with kept.database.begin() as connection:
        for model, number in (("a_b", 1), ("a_b", 10), ("axb", 11)):
            row = {"model": model, "version": number, "fingerprint": f"{number}".zfill(64), "metadata": {}}
            unused = dict.fromkeys(("artifact_sha256", "training_set_fingerprint", "code_version", "run_id"), DATA)
            rest = {"stage": "experimental", "metrics": {}, "created_at": NOW, "created_by": "tests"}
            connection.execute(sa.insert(model_version).values({**row, **unused, **rest}))
        for subject in ("models/a_b@10", "models/a_b@1", "models/axb@11"):
            kept.ledger.append(connection, Change(actor="tests", action="model_version.register", subject=subject))
    assert kept.models.latest("a_b").version == 1
    assert kept.models.latest("axb").version == 11


def test_a_version_that_does_not_say_enough_is_refused_with_the_whole_list(kept: Stores, candidate):
    with pytest.raises(IncompleteMetadata) as caught:
        _register(kept, candidate, drop=("owner", "skill"), tier=7, library="")
    assert caught.value.missing == ["library", "owner", "skill", "tier"]
    assert kept.models.find_latest("signal_classifier") is None
    assert list(kept.ledger.entries()) == []


def test_a_version_without_its_baselines_is_refused(kept: Stores, candidate):
    skill = candidate.skill.as_json()
    alone = {**skill, "test": {"model": skill["test"]["model"]}}
    with pytest.raises(IncompleteMetadata, match=r"skill\.test\.base_rate, skill\.test\.momentum_sign"):
        _register(kept, candidate, skill=alone)


def test_a_model_whose_bytes_were_swapped_does_not_load(kept: Stores, candidate):
    version = _register(kept, candidate)
    assert kept.models.load_text(version) == candidate.fit.text
    kept.blobs.path(version.artifact_sha256).write_text("tree", encoding="utf-8")
    with pytest.raises(IntegrityViolation):
        kept.models.load_text(version)


def test_an_unknown_version_says_which_are_known(kept: Stores, candidate):
    _register(kept, candidate)
    with pytest.raises(NotFound, match="Registered versions of signal_classifier: 1"):
        kept.models.get("signal_classifier", 9)
    with pytest.raises(NotFound, match="Materialise"):
        kept.models.latest("nobody")


def test_mlflow_shows_one_copy_of_a_version_that_its_own_loader_reads(kept: Stores, candidate):
    from mlflow.lightgbm import load_model

    version = _register(kept, candidate)
    _register(kept, candidate)
    client = kept.tracking.client()
    (shown,) = client.search_model_versions("name = 'signal_classifier'")
    assert shown.tags["mlops.version"] == "1"
    assert shown.tags["mlops.fingerprint"] == version.fingerprint
    assert shown.run_id == version.run_id
    folder = client.download_artifacts(version.run_id, "model", str(kept.home))
    rows = np.zeros((2, 5))
    ours = lightgbm.Booster(model_str=kept.models.load_text(version)).predict(rows)
    np.testing.assert_array_equal(load_model(folder).predict(rows), ours)
