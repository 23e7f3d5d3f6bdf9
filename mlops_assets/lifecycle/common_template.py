"""What every version must say of itself before it is registered, whatever its kind."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Sentence = Annotated[str, Field(min_length=10)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Rows = Annotated[int, Field(ge=1)]


class Template(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, use_attribute_docstrings=True
    )


class FoldRows(Template):
    """Rows that were used, by fold."""

    train: Rows
    """Rows it learned from."""
    valid: Rows
    """Rows that decided when to stop, or calibrated."""
    test: Rows
    """Rows it was judged on."""


class FoldGap(Template):
    """Proof that no label of a fold is learned after the next fold begins; features may still look back across."""

    earlier: Text
    """Name of the earlier part."""
    later: Text
    """Name of the later part."""
    last_label_known: Text
    """Day on which the last label of the earlier part was known."""
    first_row: Text
    """Day of the first row of the later part."""
    sessions: Annotated[int, Field(ge=0)]
    """Trading days strictly between the two."""
    is_disjoint: bool
    """Whether every earlier label was known before the first later row."""


class LossGain(Template):
    """How far the model's loss is below a baseline's, with a 90 % interval."""

    baseline: Text
    """Which baseline."""
    estimate: float
    """Mean loss of the baseline less that of the model."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


class WalkForwardPeriod(Template):
    """One period on which a fit was judged that saw only what came before."""

    first: Text
    """First day of the period."""
    last: Text
    """Last day of the period."""
    rows: Rows
    """Rows of the period."""
    loss: float
    """Mean loss in the period."""
    gains: Annotated[list[LossGain], Field(min_length=1)]
    """By how much the loss is below each baseline's in the period."""
    gaps: Annotated[list[FoldGap], Field(min_length=2)]
    """Proof that the fit knew nothing of the period."""


class Environment(Template):
    """Where it was trained: what may explain a retraining that differs in a bit."""

    python: Text
    """Version of Python."""
    machine: Text
    """Kind of processor."""
    packages_fingerprint: Sha256
    """One fingerprint of every installed package and its version."""
    libraries: Annotated[dict[str, Text], Field(min_length=1)]
    """Versions of the libraries that decide the bits."""
    code_commit: Text | None
    """Git commit of the source, or null where it is no clone."""


class CommonTemplate(Template):
    """What every kind of model has to say."""

    kind: Text
    """Kind of model: classifier, forecast, regime or policy."""
    declaration_version: Text
    """Semantic version of the declaration."""
    declaration_fingerprint: Sha256
    """Identity of what the declaration means."""
    declaration: Annotated[dict[str, Any], Field(min_length=1)]
    """The whole declaration, from which it can be trained again."""
    owner: Text
    """Who answers for it."""
    tier: Annotated[int, Field(ge=1, le=3)]
    """Risk tier; 1 is the highest."""
    description: Sentence
    """What it is, in words."""
    purpose: Sentence
    """What it is used for."""
    scope: Sentence
    """Where it may be used, and where not."""
    assumptions: Annotated[list[Sentence], Field(min_length=1)]
    """What has to be true for it to work."""
    limitations: Annotated[list[Sentence], Field(min_length=1)]
    """What it can't do, and where it is known to be weak."""
    training_set: Text
    """Dataset it learned from."""
    training_set_fingerprint: Sha256
    """Identity of the snapshot it learned from."""
    inputs: Annotated[dict[str, Sha256], Field(min_length=1)]
    """Identity of every snapshot that the training set was made from."""
    features: Annotated[list[Text], Field(min_length=1)]
    """The columns it sees, in order."""
    feature_views: Annotated[dict[str, Text], Field(min_length=1)]
    """Version of each feature view that computed them."""
    horizon_sessions: Rows
    """How many trading days ahead the label looks."""
    parameters: Annotated[dict[str, Any], Field(min_length=1)]
    """All that the library was told, seeds and threads included."""
    seed: Annotated[int, Field(ge=0)]
    """Seed of all that is random in a fit."""
    library: Text
    """What fitted it, and its version."""
    artifact_format: Text
    """How it is stored; none of the forms runs anything when it is read."""
    code_version: Sha256
    """Identity of the code that trained it."""
    environment: Environment
    """Machine, packages and commit."""
    trials: Annotated[int, Field(ge=0)]
    """How many sets of parameters were tried before; it deflates a Sharpe ratio."""
    fold_rows: FoldRows
    """Rows of each fold."""
    fold_gaps: Annotated[list[FoldGap], Field(min_length=2)]
    """How far the folds lie apart."""
    walk_forward: Annotated[list[WalkForwardPeriod], Field(min_length=1)]
    """How fits of the same kind did on each of the last periods."""
