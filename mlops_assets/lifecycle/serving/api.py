"""What the model that serves says of a symbol, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from mlops_assets.kernel.identity import Gate, Principal
from mlops_assets.lifecycle.plans import Environment
from mlops_assets.lifecycle.serving.answer import Answer, Prediction, Role, Value
from mlops_assets.lifecycle.serving.service import PREDICT, PredictionService

_AT = "2024-05-02T21:30:00Z"
_SHA256 = "0f343b0931126a20f133d67c2b018a3b5e2c5f3f8b7b7a51f1a3a5d5a0b3f2c1"
_FEATURE: dict[str, Any] = {
    "view": "momentum",
    "column": "rsi_14",
    "value": 61.3,
    "event_at": "2024-05-02T20:00:00Z",
    "known_at": "2024-05-02T20:15:00Z",
}
_VIEW: dict[str, Any] = {
    "view": "momentum",
    "version": "1.0.0",
    "snapshot": "features/momentum@3",
    "fingerprint": _SHA256,
}
_ANSWER: dict[str, Any] = {
    "role": "champion",
    "share": 1.0,
    "deployment_id": _SHA256,
    "model_version": "1",
    "fingerprint": _SHA256,
    "outputs": {"probability": 0.57, "bucket": "hold"},
    "features": [_FEATURE],
    "feature_views": [_VIEW],
}
_PREDICTION: dict[str, Any] = {
    "model_name": "signal_classifier",
    "kind": "classifier",
    "environment": "staging",
    "epoch": 3,
    "symbol": "AAPL",
    "as_of": _AT,
    "model_version": "1",
    "deployment_id": _SHA256,
    "outputs": {"probability": 0.57, "bucket": "hold"},
    "answers": [_ANSWER],
    "latency_ms": 2.9,
}
_ASKED: dict[str, Any] = {"symbol": "AAPL", "as_of": _AT, "environment": "staging"}

ModelName = Annotated[str, Path(min_length=1, max_length=100)]


class PredictionRequest(BaseModel):
    """Which symbol, as of when and where. Without a time it is now, without an environment where the model is declared.

    `held_weight` is for a policy: the share of equity that the symbol has.
    """

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [_ASKED]})

    symbol: Annotated[str, Field(min_length=1, max_length=32)]
    as_of: Annotated[AwareDatetime | None, Field(strict=False)] = None
    environment: Environment | None = None
    held_weight: Annotated[float | None, Field(ge=0, le=1)] = None


class FeatureView(BaseModel):
    """A feature's value with when it happened and when it was known."""

    view: str
    column: str
    value: float | int | bool | None
    event_at: datetime
    known_at: datetime


class ServedViewView(BaseModel):
    """The published version of a feature view that values were read from."""

    view: str
    version: str
    snapshot: str
    fingerprint: str


class AnswerView(BaseModel):
    """What one version says, and from what. `share` is its share of the capital in this symbol."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANSWER]}, protected_namespaces=())

    role: Role
    share: float
    deployment_id: str
    model_version: str
    fingerprint: str
    outputs: dict[str, Value]
    features: list[FeatureView]
    feature_views: list[ServedViewView]


class PredictionView(BaseModel):
    """What the model says. `outputs` are those of the answer with the largest share; a canary by capital adds another.

    `epoch` is the move of the serving log that decided who answers.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_PREDICTION]}, protected_namespaces=())

    model_name: str
    kind: str
    environment: Environment
    epoch: int
    symbol: str
    as_of: datetime
    model_version: str
    deployment_id: str
    outputs: dict[str, Value]
    answers: list[AnswerView]
    latency_ms: float


def router(predictions: PredictionService, allowed: Gate) -> APIRouter:
    """Return the route that predicts."""
    routes = APIRouter(tags=["lifecycle"])
    asker = Depends(allowed(PREDICT))

    @routes.post("/models/{model_name}/predict")
    def predict(model_name: ModelName, asked: PredictionRequest, caller: Principal = asker) -> PredictionView:
        """Ask the version that serves. 409 says why it has no answer: nobody serves, or its features are not as needed.

        404 is an unknown model or symbol, 422 a time that is in the future or before the symbol's first features.
        """
        said = predictions.predict(
            model_name,
            asked.symbol,
            as_of=asked.as_of,
            environment=asked.environment,
            held_weight=asked.held_weight,
            by=caller,
        )
        return _view(said)

    return routes


def _view(said: Prediction) -> PredictionView:
    answers = [_answer(one) for one in said.answers]
    return PredictionView.model_validate(
        {
            **{name: getattr(said, name) for name in ("environment", "epoch", "symbol", "as_of", "latency_ms")},
            "model_name": said.model,
            "kind": said.main.kind,
            "model_version": answers[0].model_version,
            "deployment_id": answers[0].deployment_id,
            "outputs": answers[0].outputs,
            "answers": answers,
        }
    )


def _answer(one: Answer) -> AnswerView:
    return AnswerView(
        role=one.role,
        share=one.share,
        deployment_id=one.deployment_id,
        model_version=str(one.version),
        fingerprint=one.fingerprint,
        outputs=dict(one.outputs),
        features=[FeatureView.model_validate(feature, from_attributes=True) for feature in one.features],
        feature_views=[ServedViewView.model_validate(view, from_attributes=True) for view in one.views],
    )
