import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

import mlops_assets
from mlops_assets.cli.models import commands
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.lifecycle.artifact import UnsafeArtifact, require_harmless
from mlops_assets.lifecycle.kinds.kind import Format
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.template import IncompleteMetadata
from mlops_assets.lifecycle.tracking.tracking import FAILURE_TAG, RunKey
from mlops_assets.lifecycle.training.candidate import Candidate, train_candidate
from mlops_assets.lifecycle.training.version_metadata import version_metadata
from mlops_assets.storage.parquet.snapshots import Snapshot
from mlops_assets.storage.sql.tables import model_version
from tests.lifecycle.worlds import NOW, Stores, small_spec, stores, training_set

CODE, DATA = "c" * 64, "d" * 64
KEY = RunKey(asset="models/signal_classifier", root_run_id="root")


@pytest.fixture(scope="module")
def candidate() -> Candidate:
    return train_candidate(training_set(), small_spec())


@pytest.fixture
def kept(tmp_path: Path) -> Stores:
    return stores(tmp_path)


def _source(fingerprint: str) -> Snapshot:
    return Snapshot(
        dataset="datasets/signal_daily",
        version=1,
        fingerprint=fingerprint,
        parent=None,
        schema_hash=CODE,
        schema={},
        code_version=CODE,
        inputs={"features/momentum": "f" * 64},
        row_count=6000,
        byte_count=1,
        created_at=NOW,
        created_by="dagster",
        ledger_seq=1,
        details={"views": {"momentum": "1.0.0"}},
        files=(),
    )


def _metadata(candidate: Candidate, data: str = DATA) -> dict[str, Any]:
    return dict(version_metadata(candidate, _source(data), code_version=CODE, trials=0))


def _register(
    kept: Stores,
    candidate: Candidate,
    *,
    data: str = DATA,
    content: bytes | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ModelVersion:
    made = candidate.fitted.content
    with kept.tracking.run(KEY, experiment="models/signal_classifier", tags={}) as run:
        run.log_lightgbm(made.decode())
        return kept.models.register(
            model="signal_classifier",
            kind="classifier",
            content=made if content is None else content,
            training_set_fingerprint=data,
            code_version=CODE,
            run_id=run.id,
            metadata=_metadata(candidate, data) if metadata is None else metadata,
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


def test_a_version_that_does_not_say_enough_is_refused_with_the_whole_list(kept: Stores, candidate: Candidate):
    full = _metadata(candidate)
    wrong = {
        name: value for name, value in {**full, "tier": 7, "library": ""}.items() if name not in {"owner", "skill"}
    }
    with pytest.raises(IncompleteMetadata) as caught:
        _register(kept, candidate, metadata=wrong)
    assert caught.value.missing == ["library", "owner", "skill", "tier"]


def test_a_refused_version_leaves_nothing_behind_and_its_mlflow_run_says_why(kept: Stores, candidate: Candidate):
    with pytest.raises(IncompleteMetadata):
        _register(kept, candidate, metadata={})
    assert kept.models.find_latest("signal_classifier") is None
    assert list(kept.ledger.entries()) == []
    assert [path for path in kept.blobs.root.rglob("*") if path.is_file()] == []
    client = kept.tracking.client()
    assert client.search_registered_models() == []
    (experiment,) = [one for one in client.search_experiments() if one.name == "models/signal_classifier"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "walk_forward missing or wrong" in run.data.tags[FAILURE_TAG]
    _register(kept, candidate)
    again = client.get_run(run.info.run_id)
    assert again.info.status == "FINISHED"
    assert FAILURE_TAG not in again.data.tags


def test_a_version_without_its_baselines_is_refused(kept: Stores, candidate: Candidate):
    skill = candidate.skill.as_json()
    alone = {**skill, "test": {"model": skill["test"]["model"]}}
    with pytest.raises(IncompleteMetadata, match=r"skill\.test\.base_rate, skill\.test\.momentum_sign"):
        _register(kept, candidate, metadata={**_metadata(candidate), "skill": alone})


def test_a_model_whose_bytes_were_swapped_does_not_load(kept: Stores, candidate):
    version = _register(kept, candidate)
    assert kept.models.load(version) == candidate.fitted.content
    kept.blobs.path(version.artifact_sha256).write_text("tree", encoding="utf-8")
    with pytest.raises(IntegrityViolation):
        kept.models.load(version)


class Trap:
    """Says so when somebody unpickles it."""

    sprung: ClassVar[list[int]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.sprung.append, (1,))


def _pickles() -> list[bytes]:
    """A pickle in each protocol, and one in each wrapping that a format of ours could be mistaken for."""
    plain = [pickle.dumps(Trap(), protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Trap()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("schema.json", "{}")
        file.writestr("inside.npy", array.getvalue())
    return [*plain, array.getvalue(), archive.getvalue()]


@pytest.mark.parametrize("form", [*Format, "pickle", "joblib", "cloudpickle"])
def test_a_pickle_is_no_artifact_whatever_it_is_said_to_be(form: str):
    for content in _pickles():
        with pytest.raises(UnsafeArtifact, match="never as a pickle"):
            require_harmless("a_model", content, form)
    assert Trap.sprung == []


@pytest.mark.parametrize("form", Format)
def test_a_pickle_is_refused_when_it_is_registered_and_when_it_is_loaded(
    kept: Stores, candidate: Candidate, form: Format
):
    metadata = {**_metadata(candidate), "artifact_format": form.value}
    for content in _pickles():
        with pytest.raises(UnsafeArtifact):
            _register(kept, candidate, content=content, metadata=metadata)
        assert kept.models.list() == []
        with pytest.raises(UnsafeArtifact):
            kept.models.load(_smuggled(kept, content, metadata))
    assert Trap.sprung == []


def _smuggled(kept: Stores, content: bytes, metadata: Mapping[str, Any]) -> ModelVersion:
    """A version of these bytes that went round the registry."""
    return ModelVersion(
        model="signal_classifier",
        version=1,
        fingerprint=DATA,
        artifact_sha256=kept.blobs.put(content),
        training_set_fingerprint=DATA,
        code_version=CODE,
        run_id="run",
        stage="experimental",
        metadata=metadata,
        metrics={},
        created_at=NOW,
        created_by="mallory",
    )


def test_nothing_of_the_platform_reads_or_writes_pickles():
    package = Path(mlops_assets.__file__).parent
    reads = re.compile(r"\b(?:cloudpickle|dill|joblib|pickle|shelve)\b")
    found = [
        (file.relative_to(package).as_posix(), line.strip())
        for file in package.rglob("*.py")
        for line in file.read_text("utf-8").splitlines()
        if reads.search(line) and re.match(r"\s*(?:import|from)\b", line)
    ]
    assert found == []
    calls = [
        file.name
        for file in package.rglob("*.py")
        if re.search(r"allow_pickle=True|read_pickle|to_pickle", file.read_text())
    ]
    assert calls == []


def test_what_the_kinds_write_is_no_pickle(candidate: Candidate):
    require_harmless("a_model", candidate.fitted.content, candidate.fitted.format)
    require_harmless("a_model", b'{"weights": [0, 1]}', Format.JSON)
    archive = io.BytesIO()
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("schema.json", "{}")
        file.writestr("1.npy", array.getvalue())
    require_harmless("a_model", archive.getvalue(), Format.SKOPS)


def test_nothing_can_delete_or_change_a_version(kept: Stores, candidate: Candidate):
    """A version that serves has to stay; so does every other, and the database sees to it."""
    verbs = [*vars(ModelRegistry), *(one.name or one.callback.__name__ for one in commands.registered_commands)]
    assert {"register", "load", "list", "show"} <= set(verbs)
    assert [verb for verb in verbs if re.search(r"delete|remove|drop|purge|prune|retract|unregister", verb)] == []
    version = _register(kept, candidate)
    for statement in (
        sa.delete(model_version),
        sa.update(model_version).values(artifact_sha256="0" * 64),
        sa.update(model_version).values(version=7),
    ):
        with pytest.raises(DBAPIError), kept.database.begin() as connection:
            connection.execute(statement)
    assert kept.models.get("signal_classifier", version.version) == version


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
    ours = lightgbm.Booster(model_str=kept.models.load(version).decode()).predict(rows)
    np.testing.assert_array_equal(load_model(folder).predict(rows), ours)
