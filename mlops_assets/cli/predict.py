"""`mlops predict`: what the model that serves says of a symbol, and from what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows

if TYPE_CHECKING:
    from mlops_assets.lifecycle.serving.answer import Answer, Prediction

_DATE = len("2024-06-07")


def predict(
    model: Annotated[str, typer.Argument(help="The model's name, like signal_classifier.")],
    symbol: Annotated[str, typer.Argument(help="The symbol, like AAPL.")],
    as_of: Annotated[
        str | None,
        typer.Option(
            help="What was known then, like 2020-06-08T21:00Z; a date counts to its end in UTC. Default: now."
        ),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="development, staging or production. Default: where the model is declared.")
    ] = None,
    held_weight: Annotated[
        float | None,
        typer.Option(help="For a policy: the share of equity held in the symbol, 0 to 1. Default: 0."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the model that serves about a symbol: what it says, which version said it, and from which features.

    It refuses where nobody serves, where a feature is missing or too old, and where a feature view is served in another
    version than the model learned from.
    """
    services = services_of()
    by = services.acting("model.predict")
    asked_at = None if as_of is None else instant(as_of)
    try:
        services.predictions.warm(model, environment)
        said = services.predictions.predict(
            model, symbol, as_of=asked_at, environment=environment, held_weight=held_weight, by=by
        )
    finally:
        services.predictions.close()
    if as_json:
        print_json(said)
    else:
        _show(said)


def instant(text: str, *, option: str = "--as-of") -> datetime:
    """Read an instant; without a zone it is UTC, and a date counts to its end."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; write it like 2020-06-08T21:00Z or 2020-06-08.", param_hint=option
        ) from None
    if len(text) == _DATE:
        found = found.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _show(said: Prediction) -> None:
    main = said.main
    show_record(
        f"{said.model} says of {said.symbol}",
        {
            **main.outputs,
            "as_of": said.as_of,
            "version": f"{said.model}@{main.version} ({main.fingerprint[:12]})",
            "who": _role(main),
            "environment": f"{said.environment}, move {said.epoch}, deployment {main.deployment_id[:12]}",
            "feature_views": [f"{one.view} {one.version} ({one.snapshot})" for one in main.views],
            "latency_ms": round(said.latency_ms, 1),
        },
        as_json=False,
    )
    for other in said.answers[1:]:
        show_record(f"{_role(other)}: {said.model}@{other.version}", dict(other.outputs), as_json=False)
    show_rows(
        "From these features (UTC)",
        [
            {
                "feature": f"{one.view}.{one.column}",
                "value": one.value,
                "event_at": one.event_at,
                "known_at": one.known_at,
            }
            for one in main.features
        ],
        as_json=False,
    )


def _role(answer: Answer) -> str:
    return answer.role if answer.share == 1 else f"{answer.role}, {answer.share:.0%} of the capital"
