"""What a trained version must say of itself before it is registered, by kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlops_assets.kernel.errors import PlatformError

Text = Annotated[str, Field(min_length=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Rows = Annotated[int, Field(ge=1)]


class IncompleteMetadata(PlatformError):
    """A version does not say all that its template asks for. `missing` names every field, dotted."""

    code = "incomplete_metadata"

    def __init__(self, *, model: str, missing: list[str]) -> None:
        self.model, self.missing = model, missing
        super().__init__(
            f"{model} can't be registered: {', '.join(missing)} missing or wrong. "
            "Log them in the run that trained it and register again."
        )


class _Template(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class CommonTemplate(_Template):
    """What every kind of model has to say."""

    kind: Text
    declaration_version: Text
    declaration_fingerprint: Sha256
    owner: Text
    description: Annotated[str, Field(min_length=10)]
    tier: Annotated[int, Field(ge=1, le=3)]
    training_set: Text
    training_set_fingerprint: Sha256
    features: Annotated[list[Text], Field(min_length=1)]
    parameters: Annotated[dict[str, Any], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)]
    library: Text
    code_version: Sha256


class FoldRows(_Template):
    """Rows that were used, by fold."""

    train: Rows
    valid: Rows
    test: Rows


class ClassifierScores(_Template):
    """One set of probabilities on the test fold."""

    rows: Rows
    auc: Annotated[float, Field(ge=0, le=1)]
    log_loss: Annotated[float, Field(ge=0)]
    brier: Annotated[float, Field(ge=0, le=1)]
    accuracy: Annotated[float, Field(ge=0, le=1)]
    information_coefficient: Annotated[float, Field(ge=-1, le=1)] | None


class TestScores(_Template):
    """The model beside both baselines."""

    __test__ = False

    model: ClassifierScores
    base_rate: ClassifierScores
    momentum_sign: ClassifierScores


class LogLossGain(_Template):
    """How far the model's log loss is below a baseline's."""

    baseline: Text
    estimate: float
    low: float
    high: float


class ClassifierSkill(_Template):
    """Test scores, the valid fold's for comparison, and the gains."""

    test: TestScores
    valid: ClassifierScores
    gains: Annotated[list[LogLossGain], Field(min_length=1)]


class FoldGap(_Template):
    """Proof that no label of a fold is learned after the next fold begins; features may still look back across."""

    earlier: Text
    later: Text
    last_label_known: Text
    first_row: Text
    sessions: Annotated[int, Field(ge=0)]
    is_disjoint: bool


class ClassifierTemplate(CommonTemplate):
    """What a classifier has to say beside the common fields."""

    horizon_sessions: Rows
    threshold: float
    rounds: Rows
    fold_rows: FoldRows
    fold_gaps: Annotated[list[FoldGap], Field(min_length=2)]
    buckets: Annotated[dict[str, float], Field(min_length=1)]
    skill: ClassifierSkill


TEMPLATES: Mapping[str, type[CommonTemplate]] = {"classifier": ClassifierTemplate}


def require_complete(model: str, kind: str, metadata: Mapping[str, Any]) -> None:
    """Check a version's metadata against the template of its kind.

    Raises:
        IncompleteMetadata: naming every field that is missing, unknown or wrong.
    """
    try:
        TEMPLATES[kind].model_validate(dict(metadata))
    except ValidationError as error:
        missing = [".".join(str(part) for part in item["loc"]) for item in error.errors(include_url=False)]
        raise IncompleteMetadata(model=model, missing=sorted(set(missing))) from None
