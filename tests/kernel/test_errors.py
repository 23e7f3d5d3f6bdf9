from __future__ import annotations

from mlops_assets.kernel.errors import MissingColumns, UnknownReference
from mlops_assets.kernel.identity import Role


def test_an_unknown_reference_offers_the_near_miss():
    error = UnknownReference(
        kind="strategy", name="sma_crosover", known=["sma_crossover", "cash"], asked_by="a.yaml", field="candidates"
    )
    assert (
        str(error) == "a.yaml: field 'candidates': no strategy is called 'sma_crosover'; did you mean 'sma_crossover'?"
    )


def test_without_a_near_miss_everything_known_is_listed():
    error = UnknownReference(kind="strategy", name="xyz", known=["b", "a"], asked_by="a.yaml")
    assert str(error) == "a.yaml: no strategy is called 'xyz'; known: a, b"


def test_members_of_an_enum_are_offered_by_their_values():
    error = UnknownReference(kind="role", name="complience", known=Role, asked_by="mlops principals add")
    assert str(error) == "mlops principals add: no role is called 'complience'; did you mean 'compliance'?"


def test_missing_columns_say_what_is_there():
    error = MissingColumns(asked_by="view v", missing={"volume"}, available=[], remedy="Choose another source.")
    assert str(error) == "view v needs volume, but only none exist. Choose another source."
