from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from types import MappingProxyType

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.kernel.fingerprint import canonical_json, fingerprint, source_fingerprint

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_canonical_json_reads_back_equal_and_order_does_not_matter(value: object):
    assert json.loads(canonical_json(value), parse_int=float) == value  # a JSON number is a double
    if isinstance(value, dict):
        assert fingerprint(dict(reversed(value.items()))) == fingerprint(value)


def test_the_example_of_rfc_8785():
    value = {"numbers": [333333333.33333329, 1e30, 4.5, 2e-3, 1e-27], "literals": [None, True, False]}
    assert canonical_json(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'
    )


def test_a_fingerprint_is_the_sha256_of_the_canonical_bytes():
    assert fingerprint({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()


def test_any_mapping_and_any_sequence_will_do():
    assert fingerprint(MappingProxyType({"a": (1, 2)})) == fingerprint({"a": [1, 2]})


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53 + 1])
def test_numbers_that_json_can_not_hold_are_refused(value: float):
    with pytest.raises(rfc8785.CanonicalizationError):
        fingerprint({"x": value})


def test_a_fingerprint_is_the_same_in_another_process_with_another_hash_seed():
    program = (
        "from mlops_assets.kernel.fingerprint import *; print(fingerprint({'b': {'x', }.pop(), 'a': [1.5, None]}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == fingerprint({"a": [1.5, None], "b": "x"})


def test_a_source_fingerprint_needs_no_import_and_moves_with_the_name():
    assert source_fingerprint("mlops_assets.kernel.clock") != source_fingerprint("mlops_assets.kernel.change")
    with pytest.raises(ValueError, match="no source file"):
        source_fingerprint("mlops_assets.nothing")
