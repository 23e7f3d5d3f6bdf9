"""What a trained version must say of itself before it is registered, by kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.lifecycle.common_template import CommonTemplate, LossGain, Rows, Template, Text
from mlops_assets.lifecycle.learner import Kind

Positive = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Correlation = Annotated[float, Field(ge=-1, le=1)]


class IncompleteMetadata(PlatformError):
    """A version does not say all that its template asks for. `missing` names every field, dotted."""

    code = "incomplete_metadata"

    def __init__(self, *, model: str, missing: list[str]) -> None:
        self.model, self.missing = model, missing
        super().__init__(
            f"{model} can't be registered: {', '.join(missing)} missing or wrong. "
            "Log them in the run that trained it and register again."
        )


class ClassifierScores(Template):
    """One set of probabilities on one fold."""

    rows: Rows
    """Rows that were judged."""
    auc: Fraction
    """Area under the ROC curve."""
    log_loss: Positive
    """Mean negative log likelihood, in nats."""
    brier: Fraction
    """Mean squared error of the probability."""
    accuracy: Fraction
    """Share of rows on the right side of one half."""
    information_coefficient: Correlation | None
    """Mean daily rank correlation with the forward return; null where no day ranks the symbols."""


class ClassifierTest(Template):
    """The model beside both baselines."""

    model: ClassifierScores
    """The model itself."""
    base_rate: ClassifierScores
    """The share of true labels in the train fold, said of every row."""
    momentum_sign: ClassifierScores
    """The sign of the declared momentum feature as a probability."""


class ClassifierSkill(Template):
    """Test scores, the valid fold's for comparison, and the gains in log loss."""

    loss: Text
    """Name of the loss, which is lower where a model is better."""
    test: ClassifierTest
    """Scores on the test fold, of the model and of each baseline."""
    valid: ClassifierScores
    """The model's scores on the valid fold, for comparison."""
    gains: Annotated[list[LossGain], Field(min_length=2)]
    """By how much the model's loss on the test fold is below each baseline's."""


class ClassifierTemplate(CommonTemplate):
    """What a classifier has to say beside the common fields."""

    threshold: float
    """Return that the label has to beat, as a fraction."""
    rounds: Rows
    """Trees after early stopping."""
    buckets: Annotated[dict[str, float], Field(min_length=1)]
    """Probabilities at which a signal changes its name."""
    skill: ClassifierSkill
    """How good it is beside its baselines."""


class PolicyScores(Template):
    """One replay of a fold: `rows` of it, `decisions` whose outcome is complete, annual figures of a typical symbol."""

    rows: Rows
    """Rows that were judged."""
    decisions: Rows
    """Decisions whose outcome is complete."""
    minus_log_growth: float
    """Minus the mean log growth of a decision, net of costs."""
    annual_return: float
    """Return a year, as a fraction."""
    annual_volatility: Positive
    """Standard deviation of returns a year, as a fraction."""
    turnover: Positive
    """Fraction of the position limit that is traded in a year."""
    time_invested: Fraction
    """Share of decisions that hold anything."""
    hit_rate: Fraction | None
    """Share of decisions that held something and gained net of costs; null where none held."""


class PolicyTest(Template):
    """The policy beside both baselines."""

    model: PolicyScores
    """The policy itself."""
    hold: PolicyScores
    """Weight one throughout."""
    cash: PolicyScores
    """Nothing held, ever."""


class PolicySkill(Template):
    """Test scores, the valid fold's for comparison, and the gains in log growth a decision."""

    loss: Text
    """Name of the loss, which is lower where a model is better."""
    test: PolicyTest
    """Scores on the test fold, of the model and of each baseline."""
    valid: PolicyScores
    """The model's scores on the valid fold, for comparison."""
    gains: Annotated[list[LossGain], Field(min_length=2)]
    """By how much the model's loss on the test fold is below each baseline's."""


class PolicyTemplate(CommonTemplate):
    """What a policy has to say beside the common fields."""

    buckets: Rows
    """Into how many buckets a feature falls."""
    weights: Annotated[list[Fraction], Field(min_length=2)]
    """The target weights it chooses from."""
    every_sessions: Rows
    """Trading days from one decision to the next."""
    cost_bps: Positive
    """What is paid on what is traded, in basis points."""
    steps: Rows
    """Decisions it learned from."""
    states: Rows
    """States that its table has."""
    states_learned: Annotated[int, Field(ge=0)]
    """States with a decision that was tried."""
    skill: PolicySkill
    """How good it is beside its baselines."""


class ForecastScores(Template):
    """One set of quantiles on one fold; losses and widths are in multiples of today's equity."""

    rows: Rows
    """Rows that were judged."""
    pinball_loss: Positive
    """Mean pinball loss over the three quantiles."""
    pinball_q05: Positive
    """Mean pinball loss of the 5 percentile."""
    pinball_q50: Positive
    """Mean pinball loss of the median."""
    pinball_q95: Positive
    """Mean pinball loss of the 95 percentile."""
    coverage: Fraction
    """Share of outcomes within the 90 % interval."""
    share_below: Fraction
    """Share of outcomes below the 5 percentile."""
    share_above: Fraction
    """Share of outcomes above the 95 percentile."""
    mean_width: Positive
    """Mean width of the 90 % interval."""
    information_coefficient: Correlation | None
    """Mean over days of the rank correlation of median and forward return; null where no day ranks the symbols."""


class ForecastTest(Template):
    """The model beside both baselines."""

    model: ForecastScores
    """The model itself."""
    train_quantiles: ForecastScores
    """The quantiles of the train fold said to every row."""
    volatility_scaled: ForecastScores
    """Quantiles of returns in units of volatility, times the row's volatility."""


class ForecastSkill(Template):
    """Test scores, the valid fold's for comparison, and the gains in pinball loss."""

    loss: Text
    """Name of the loss, which is lower where a model is better."""
    test: ForecastTest
    """Scores on the test fold, of the model and of each baseline."""
    valid: ForecastScores
    """The model's scores on the valid fold, by which it was stopped and calibrated."""
    gains: Annotated[list[LossGain], Field(min_length=2)]
    """By how much the model's loss on the test fold is below each baseline's."""


class ForecastRounds(Template):
    """Trees of each quantile."""

    q05: Rows
    """Of the 5 percentile."""
    q50: Rows
    """Of the median."""
    q95: Rows
    """Of the 95 percentile."""


class ForecastTemplate(CommonTemplate):
    """What a forecast has to say beside the common fields."""

    quantiles: Annotated[dict[str, Fraction], Field(min_length=1)]
    """Which quantiles of forward equity it says, by name."""
    rounds: ForecastRounds
    """Trees after early stopping, by quantile."""
    widening: float
    """How far calibration moved both ends of the interval outwards, in multiples of today's equity; below 0 inwards."""
    calibration_rows: Rows
    """Rows of the valid fold that calibrated."""
    teaching_rows: Rows
    """Rows of the train fold that taught, after thinning."""
    skill: ForecastSkill
    """How good it is beside its baselines."""


class RegimeDensity(Template):
    """How a density does on the days of a fold."""

    rows: Rows
    """Days that were judged."""
    negative_log_density: float
    """Minus the mean logarithm of the density of a day's features, in nats."""


class RegimeScores(RegimeDensity):
    """One naming of the days of a fold. What the market did afterwards is context and no skill."""

    mean_dwell_sessions: Positive
    """Mean number of sessions that a regime lasted."""
    share_bullish: Fraction
    """Share of days that were bullish."""
    share_bearish: Fraction
    """Share of days that were bearish."""
    share_volatile: Fraction
    """Share of days that were volatile."""
    share_sideways: Fraction
    """Share of days that were sideways."""
    forward_return_bullish: float | None
    """Mean return of the market over the label's horizon after bullish days, as a fraction; null where none was."""
    forward_return_bearish: float | None
    """The same after bearish days."""
    forward_return_volatile: float | None
    """The same after volatile days."""
    forward_return_sideways: float | None
    """The same after sideways days."""
    forward_spread_bullish: Positive | None
    """Standard deviation over bullish days of that return, as a fraction; null where fewer than two were."""
    forward_spread_bearish: Positive | None
    """The same over bearish days."""
    forward_spread_volatile: Positive | None
    """The same over volatile days."""
    forward_spread_sideways: Positive | None
    """The same over sideways days."""


class RegimeTest(Template):
    """The model beside both baselines."""

    model: RegimeScores
    """The model itself."""
    single_gaussian: RegimeDensity
    """One Gaussian fitted to the train fold."""
    quadrants: RegimeDensity
    """A Gaussian for each quadrant of trend and volatility, cut at their medians in the train fold."""


class RegimeSkill(Template):
    """Test scores, the valid fold's for comparison, and the gains in log density."""

    loss: Text
    """Name of the loss, which is lower where a model is better."""
    test: RegimeTest
    """Scores on the test fold, of the model and of each baseline."""
    valid: RegimeScores
    """The model's scores on the valid fold, for comparison."""
    gains: Annotated[list[LossGain], Field(min_length=2)]
    """By how much the model's loss on the test fold is below each baseline's."""


class NamedRegime(Template):
    """One Gaussian of the mixture."""

    weight: Fraction
    """Share of the train fold's days that it stands for."""
    means: Annotated[dict[str, float], Field(min_length=1)]
    """Mean of each feature, in the feature's unit: what the name stands for."""


class NamedRegimes(Template):
    """The four Gaussians by name."""

    bullish: NamedRegime
    """Of those that are not volatile the one with the highest mean trend."""
    bearish: NamedRegime
    """Of those that are not volatile the one with the lowest mean trend."""
    volatile: NamedRegime
    """The one with the highest mean volatility."""
    sideways: NamedRegime
    """The one that is left."""


class RegimeTemplate(CommonTemplate):
    """What a regime model has to say beside the common fields."""

    regimes: NamedRegimes
    """What each name stands for."""
    converged: bool
    """Whether the fit came to rest before its last iteration."""
    iterations: Rows
    """Iterations of the best initialisation."""
    teaching_days: Rows
    """Days of the train fold that taught."""
    skill: RegimeSkill
    """How good it is beside its baselines."""


TEMPLATES: Mapping[Kind, type[CommonTemplate]] = {
    "classifier": ClassifierTemplate,
    "policy": PolicyTemplate,
    "forecast": ForecastTemplate,
    "regime": RegimeTemplate,
}


def require_complete(model: str, kind: Kind, metadata: Mapping[str, Any]) -> None:
    """Check a version's metadata against the template of its kind.

    Raises:
        IncompleteMetadata: naming every field that is missing, unknown or wrong.
    """
    try:
        TEMPLATES[kind].model_validate(dict(metadata))
    except ValidationError as error:
        missing = [".".join(str(part) for part in item["loc"]) for item in error.errors(include_url=False)]
        raise IncompleteMetadata(model=model, missing=sorted(set(missing))) from None
