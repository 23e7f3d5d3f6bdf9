import io
import json
import zipfile
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.mixture import GaussianMixture
from skops import io as skops_io

from mlops_assets.lifecycle import skops_file
from mlops_assets.lifecycle.skops_file import SCHEMA, RefusedArtifact

ESTIMATOR = "sklearn.mixture._gaussian_mixture.GaussianMixture"


def _mixture(**attributes: object) -> GaussianMixture:
    days = np.random.default_rng(0).normal(size=(80, 2))
    mixture = GaussianMixture(2, random_state=1).fit(days)
    for name, value in attributes.items():
        setattr(mixture, name, value)
    return mixture


def _forged(change: Callable[[dict[str, Any]], None]) -> bytes:
    """A file whose schema was changed by hand."""
    with zipfile.ZipFile(io.BytesIO(skops_file.dumps(_mixture()))) as good:
        parts = {name: good.read(name) for name in good.namelist()}
    schema = json.loads(parts[SCHEMA])
    change(schema)
    forged = io.BytesIO()
    with zipfile.ZipFile(forged, "w") as written:
        for name, content in {**parts, SCHEMA: json.dumps(schema).encode()}.items():
            written.writestr(name, content)
    return forged.getvalue()


def test_plain_skops_loads_what_is_stored_and_finds_the_same():
    mixture = _mixture()
    loaded = skops_io.loads(skops_file.dumps(mixture))
    assert set(vars(loaded)) == set(vars(mixture))
    for name, value in vars(mixture).items():
        np.testing.assert_array_equal(vars(loaded)[name], value)


def test_the_same_fit_gives_the_same_bytes_and_what_is_loaded_is_stored_the_same():
    stored = skops_file.dumps(_mixture())
    assert skops_file.dumps(_mixture()) == stored
    assert skops_file.dumps(skops_file.loads(stored, estimator=ESTIMATOR)) == stored


def test_two_objects_that_are_equal_or_one_are_stored_alike():
    one = np.array([1.0, 2.0])
    shared, apart = _mixture(first=one, second=one), _mixture(first=one, second=one.copy())
    assert skops_file.dumps(shared) == skops_file.dumps(apart)


def test_parts_are_numbered_in_order_of_appearance():
    with zipfile.ZipFile(io.BytesIO(skops_file.dumps(_mixture()))) as stored:
        numbers = [int(name.removesuffix(".npy")) for name in stored.namelist() if name != SCHEMA]
        assert numbers == sorted(numbers)
        assert {entry.date_time for entry in stored.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("held", "named"),
    [
        ({"means_init": np.load}, "numpy"),
        ({"means_init": attrgetter("weights_")}, "attrgetter"),
        ({"means_init": LinearRegression()}, "LinearRegression"),
        ({"means_init": np.array([LinearRegression()], dtype=object)}, "LinearRegression"),
        ({"means_init": np.random.RandomState(0)}, "RandomState"),
    ],
)
def test_a_file_that_holds_another_type_is_refused(held: dict[str, object], named: str):
    with pytest.raises(RefusedArtifact, match=named):
        skops_file.loads(skops_io.dumps(_mixture(**held)), estimator=ESTIMATOR)


def test_another_estimator_is_refused():
    with pytest.raises(RefusedArtifact, match="LinearRegression"):
        skops_file.loads(skops_io.dumps(LinearRegression()), estimator=ESTIMATOR)


def test_a_file_without_the_estimator_is_refused():
    with pytest.raises(RefusedArtifact, match="holds none"):
        skops_file.loads(skops_io.dumps([1, 2]), estimator=ESTIMATOR)


@pytest.mark.parametrize("loader", ["FunctionNode", "TypeNode", "ReduceNode", "MethodNode", "PartialNode", "Unheard"])
def test_a_forged_part_is_refused_and_nothing_of_it_is_imported(loader: str, monkeypatch: pytest.MonkeyPatch, tmp_path):
    (tmp_path / "forged_module.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Forged: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def change(schema: dict[str, Any]) -> None:
        forged = {"__module__": "forged_module", "__class__": "Forged", "__loader__": loader, "content": {}}
        schema["content"]["content"]["means_init"] = forged

    with pytest.raises(RefusedArtifact, match=r"forged_module\.Forged"):
        skops_file.loads(_forged(change), estimator=ESTIMATOR)
    assert not (tmp_path / "executed").exists()


def test_a_listed_type_behind_another_loader_is_refused():
    def change(schema: dict[str, Any]) -> None:
        schema["content"]["content"]["tol"]["__loader__"] = "FunctionNode"

    with pytest.raises(RefusedArtifact, match="FunctionNode"):
        skops_file.loads(_forged(change), estimator=ESTIMATOR)


def test_a_part_that_hides_its_type_is_refused():
    with pytest.raises(RefusedArtifact, match="__class__"):
        skops_file.loads(_forged(lambda schema: schema["content"].pop("__class__")), estimator=ESTIMATOR)


@pytest.mark.parametrize("content", [b"", b"no zip", skops_file.dumps([1])[:40]])
def test_bytes_that_are_no_skops_file_are_refused(content: bytes):
    with pytest.raises(RefusedArtifact, match="no whole skops file"):
        skops_file.loads(content, estimator=ESTIMATOR)


def test_a_pickled_array_is_refused():
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)

    with zipfile.ZipFile(io.BytesIO(skops_file.dumps(_mixture()))) as good:
        parts = {name: good.read(name) for name in good.namelist()}
    forged = io.BytesIO()
    with zipfile.ZipFile(forged, "w") as written:
        for name, content in parts.items():
            written.writestr(name, content if name == SCHEMA else pickled.getvalue())
    with pytest.raises(RefusedArtifact, match="no whole skops file"):
        skops_file.loads(forged.getvalue(), estimator=ESTIMATOR)
