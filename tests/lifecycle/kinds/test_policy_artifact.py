import json

import pytest

from mlops_assets.kernel.fingerprint import canonical_json
from mlops_assets.lifecycle.kinds.allocation_states import FeatureBorders, States
from mlops_assets.lifecycle.kinds.policy_artifact import MalformedPolicy, StoredPolicy, policy_bytes, read_policy
from mlops_assets.lifecycle.kinds.q_learning import QTable

POLICY = StoredPolicy(
    states=States(features=(FeatureBorders(feature="wild", borders=(0.25,)),), weights=(0.0, 1.0)),
    every_sessions=5,
    table=QTable(values=[[0.0, 0.5], [0.25, 0.25], [-1.0, 2.0], [0.1, 0.0]], visits=[[3, 4], [1, 1], [0, 9], [2, 2]]),
)


def test_a_policy_is_read_as_it_was_written():
    assert read_policy(policy_bytes(POLICY), ["wild"]) == POLICY
    assert policy_bytes(POLICY) == canonical_json(json.loads(policy_bytes(POLICY)))


def test_the_best_weight_is_chosen_the_lowest_of_equals_and_none_where_one_was_never_tried():
    assert [POLICY.chosen(state) for state in range(4)] == [1, 0, None, 0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weights": [0.0, 2.0]}, "weights"),
        ({"weights": [1.0, 0.0]}, "weights must rise from 0"),
        ({"every_sessions": 0}, "every_sessions"),
        ({"every_sessions": "5"}, "every_sessions"),
        ({"values": [[0.0, 0.5]]}, "values must have 4 states of 2 weights"),
        ({"visits": [[3, 4], [1, 1], [0, 9], [2]]}, "visits must have 4 states"),
        ({"visits": [[3, 4], [1, 1], [0, 9], [2, -2]]}, "visits"),
        ({"features": [{"feature": "wild", "borders": [0.5, 0.25]}]}, "must not fall"),
        ({"features": []}, "features"),
        ({"run": "rm"}, "run"),
    ],
)
def test_malformed_content_is_refused_by_field(change: dict[str, object], field: str):
    content = canonical_json({**json.loads(policy_bytes(POLICY)), **change})
    with pytest.raises(MalformedPolicy, match=field):
        read_policy(content, ["wild"])


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"[]", b"{}", b"\xff\xfe", b'{"every_sessions": NaN}'])
def test_bytes_that_are_no_policy_are_refused(content: bytes):
    with pytest.raises(MalformedPolicy, match="train it again"):
        read_policy(content, ["wild"])


def test_an_infinite_value_is_refused():
    with pytest.raises(MalformedPolicy, match="values"):
        read_policy(policy_bytes(POLICY).replace(b"0.5]", b"1e999]", 1), ["wild"])


def test_a_policy_for_other_features_is_refused():
    with pytest.raises(MalformedPolicy, match="it knows wild, and is asked by calm"):
        read_policy(policy_bytes(POLICY), ["calm"])
