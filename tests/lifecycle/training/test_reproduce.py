"""A version comes out again bit for bit, and where it does not the answer says what differs."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from mlops_assets.kernel.errors import IntegrityViolation, NotFound
from mlops_assets.lifecycle.registry import ModelVersion
from mlops_assets.lifecycle.training.reproduce import (
    NotReproducible,
    Reproduction,
    difference,
    learned_until,
    reproduce,
)
from tests.lifecycle.registered import DAYS, MODEL, declaration, publish, services_with_versions, train
from tests.lifecycle.worlds import DECLARATION, momentum_view
from tests.rest.client import Services

VIEWS = {"momentum": momentum_view()}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    return services_with_versions(tmp_path)


def _version(services: Services, **metadata: Any) -> ModelVersion:
    """Version 1, with parts of its record changed."""
    one = services.models.get(MODEL, 1)
    return replace(one, metadata={**copy.deepcopy(dict(one.metadata)), **metadata})


def _reproduce(services: Services, version: ModelVersion, **options: Any) -> Reproduction:
    return reproduce(version, artifacts=services.models, snapshots=services.snapshots, **options)


def _differing(found: Reproduction) -> dict[str, str]:
    return {part.what: part.note for part in found.parts if not part.is_same}


def test_a_version_is_reproduced_from_its_record_alone(services: Services):
    told: list[str] = []
    entries = len(list(services.ledger.entries()))
    found = _reproduce(services, services.models.get(MODEL, 1), views=VIEWS, progress=told.append)
    assert found.is_exact
    assert [part.what for part in found.parts] == [
        "training set",
        "training set built again",
        "declaration",
        "code",
        "environment",
        "artifact",
        "metrics",
    ]
    assert all(part.is_same for part in found.parts)
    assert told
    assert len(list(services.ledger.entries())) == entries, "nothing is registered"


def test_a_version_of_another_kind_and_form_is_reproduced_too(services: Services):
    said = yaml.safe_load(DECLARATION.with_name("allocation_policy.yaml").read_text(encoding="utf-8"))
    small = declaration()
    said["learner"]["params"]["passes"] = 2
    said["walk_forward"] = small["walk_forward"]
    features = ["momentum.momentum_12_1", "momentum.return_20d"]
    said["training_set"] |= {"features": features, "folds": small["training_set"]["folds"]}
    version = train(services, said, publish(services, said))
    assert version.metadata["artifact_format"] == "json"
    assert _reproduce(services, version, views=VIEWS).is_exact


def test_what_came_since_does_not_matter(services: Services):
    publish(services, declaration(), count=470)
    assert services.snapshots.head("datasets/signal_daily").version == 2
    assert _reproduce(services, services.models.get(MODEL, 1), views=VIEWS).is_exact


def test_folds_that_move_on_stand_still_for_the_version_that_learned_from_them(services: Services):
    rolling = declaration()
    folds = {"valid_sessions": 50, "test_sessions": 80, "embargo_sessions": 2}
    rolling["training_set"] = {**rolling["training_set"], "folds": folds}
    early = train(services, rolling, publish(services, rolling, count=460))
    late = train(services, rolling, publish(services, rolling))
    assert [learned_until(one, services.snapshots) for one in (early, late)] == [DAYS[460 - 131], DAYS[480 - 131]]
    assert early.artifact_sha256 != late.artifact_sha256, "what came since taught it"
    for one in (early, late):
        assert _reproduce(services, one, views=VIEWS).is_exact


def test_a_record_of_other_code_names_the_commit_to_check_out(services: Services):
    commit = "4" * 40
    environment = {**services.models.get(MODEL, 1).metadata["environment"], "code_commit": commit}
    found = _reproduce(services, replace(_version(services, environment=environment), code_version="0" * 64))
    assert not found.is_exact
    assert _differing(found) == {"code": f"check out commit {commit} and ask again"}


def test_other_packages_are_said_and_do_not_count_where_the_bytes_are_the_same(services: Services):
    before = services.models.get(MODEL, 1).metadata["environment"]
    libraries = {**before["libraries"], "lightgbm": "3.0.0"}
    environment = {**before, "libraries": libraries, "python": "3.9.1"}
    found = _reproduce(services, _version(services, environment=environment))
    assert found.is_exact
    note = _differing(found)["environment"]
    assert f"lightgbm 3.0.0 → {before['libraries']['lightgbm']}" in note
    assert f"python 3.9.1 → {before['python']}" in note


def test_other_bytes_are_measured_by_what_they_say_of_the_test_fold(services: Services):
    other = services.models.get(MODEL, 2)
    found = _reproduce(services, replace(_version(services), artifact_sha256=other.artifact_sha256))
    note = _differing(found)["artifact"]
    assert not found.is_exact
    assert note.startswith("on the test fold, probability differs in ")
    assert ", by at most 0." in note


def test_a_difference_is_counted_row_by_row():
    before = pl.DataFrame({"p": [0.1, 0.2, None, 0.4], "name": ["a", "b", "c", "d"], "same": [1, 2, 3, 4]})
    now = pl.DataFrame({"p": [0.1, 0.25, None, 0.3], "name": ["a", "x", "c", "d"], "same": [1, 2, 3, 4]})
    assert difference(before, now) == (
        "p differs in 2 of 4 rows, by at most 0.1; name differs in 1 of 4 rows; same is the same in all 4 rows"
    )
    assert "by at most" not in difference(pl.DataFrame({"p": [np.nan]}), pl.DataFrame({"p": [0.5]}))


def test_metrics_that_differ_are_named_with_both_values(services: Services):
    one = services.models.get(MODEL, 1)
    found = _reproduce(services, replace(one, metrics={**one.metrics, "test/auc": 0.99}))
    assert _differing(found) == {"metrics": f"test/auc 0.99 → {one.metrics['test/auc']}"}
    assert not found.is_exact


def test_a_changed_declaration_is_no_reproduction(services: Services):
    found = _reproduce(services, _version(services, declaration=declaration(seed=7)))
    assert not found.is_exact
    assert {"declaration", "artifact", "code"} <= _differing(found).keys()


def test_a_training_set_that_is_gone_or_damaged_is_said(services: Services):
    with pytest.raises(NotFound, match=r"training set of models/signal_classifier@1.*restore"):
        _reproduce(services, replace(_version(services), training_set_fingerprint="0" * 64))
    (file,) = services.snapshots.paths(services.snapshots.head("datasets/signal_daily"))
    file.write_bytes(file.read_bytes()[:-8] + b"00000000")
    with pytest.raises(IntegrityViolation, match="datasets/signal_daily@1"):
        _reproduce(services, services.models.get(MODEL, 1))


def test_an_artifact_that_is_damaged_is_said(services: Services):
    one = services.models.get(MODEL, 1)
    services.blobs.path(one.artifact_sha256).write_bytes(b"swapped")
    with pytest.raises(IntegrityViolation):
        _reproduce(services, one)


def test_bars_that_are_damaged_are_said_when_the_training_set_is_built_again(services: Services):
    (file,) = services.snapshots.paths(services.snapshots.head("market/bars"))
    file.unlink()
    assert _reproduce(services, services.models.get(MODEL, 1)).is_exact
    with pytest.raises(IntegrityViolation, match="market/bars@1"):
        _reproduce(services, services.models.get(MODEL, 1), views=VIEWS)


def test_a_version_of_before_declarations_were_kept_is_refused_in_words(services: Services):
    one = services.models.get(MODEL, 1)
    rest = {name: value for name, value in one.metadata.items() if name != "declaration"}
    with pytest.raises(NotReproducible, match="Materialise models/signal_classifier"):
        _reproduce(services, replace(one, metadata=rest))
