"""`mlops models list|show|compare` and `mlops reproduce`: which versions there are, and what one is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.progress import telling
from mlops_assets.cli.render import AsJson, print_json, show_record, show_rows
from mlops_assets.kernel.errors import UnknownReference

if TYPE_CHECKING:
    from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
    from mlops_assets.lifecycle.training.compare import Comparison, Difference
    from mlops_assets.lifecycle.training.reproduce import Part, Reproduction

VersionName = Annotated[
    str, typer.Argument(help="A model's name, for its latest version, or one version: signal_classifier@2.")
]


def list_(
    model: Annotated[str | None, typer.Option(help="Only versions of this model.")] = None, as_json: AsJson = False
) -> None:
    """List the registered versions: what each learned from, and its loss beside its baselines on the test fold."""
    services = services_of()
    services.acting("platform.read")
    found = services.models.list(model=model)
    latest = {name: services.models.latest(name).version for name in {one.model for one in found}}
    rows = [_row(one, is_latest=latest[one.model] == one.version) for one in found]
    only_json = ("fingerprint", "artifact_sha256", "training_set_fingerprint", "code_version", "run_id", "created_by")
    empty = "none; materialise a model's asset"
    show_rows("Model versions (UTC)", rows, as_json=as_json, empty=empty, only_json=only_json)


def show(version: VersionName, as_json: AsJson = False) -> None:
    """Show one version as a reviewer wants it: what it is for, from what it was made, how good it is, what to mind."""
    services = services_of()
    services.acting("platform.read")
    found = _version(services.models, version)
    if as_json:
        print_json(found)
        return
    said = found.metadata
    show_record(f"{found.model}@{found.version}", _identity(found), as_json=False)
    show_record("What it is", {name: said.get(name) for name in ("description", "purpose", "scope")}, as_json=False)
    for name in ("assumptions", "limitations"):
        show_rows(name.capitalize(), [{name: one} for one in said.get(name, ())], as_json=False)
    show_record("From what", _sources(said), as_json=False)
    skill: Mapping[str, Any] = said.get("skill", {})
    scores = [{"candidate": who, **figures} for who, figures in skill.get("test", {}).items()]
    show_rows("On the test fold", scores, as_json=False, empty="not said")
    gains = [_gain(one) for one in skill.get("gains", ())]
    show_rows(f"Gain in {skill.get('loss', 'loss')}, 90 % interval", gains, as_json=False, empty="not said")
    periods = [_period(one) for one in said.get("walk_forward", ())]
    show_rows("Walk-forward", periods, as_json=False, empty="not said")


def compare(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    versions: Annotated[
        list[int], typer.Argument(help="Two versions or more; the others are compared with the first.")
    ],
    as_json: AsJson = False,
) -> None:
    """Compare versions on the days that none of them learned from: each metric, and its difference with an interval.

    A version is better or worse where the 90 % interval of the difference in loss leaves zero out.
    """
    from mlops_assets.lifecycle.training.version_comparison import compare_versions

    if len(set(versions)) < 2:
        raise typer.BadParameter("name at least two versions, like `mlops models compare signal_classifier 1 2`.")
    services = services_of()
    services.acting("platform.read")
    with telling() as tell:
        found = compare_versions(model, versions, models=services.models, snapshots=services.snapshots, progress=tell)
    if as_json:
        print_json(found.as_json())
        return
    span = f"{found.rows} rows, {found.first} to {found.last}"
    rows = [_metric(found, name, values) for name, values in found.values.items()]
    show_rows(f"{model} on what none of them learned from: {span}", rows, as_json=False)
    if found.restated:
        typer.echo(f"{found.restated} rows left out: their outcome was corrected between the training sets.")
    show_rows(
        f"Beside version {found.versions[0]}, 90 % interval",
        [_difference(one) for one in found.differences],
        as_json=False,
    )


def reproduce(
    version: VersionName,
    from_bars: Annotated[
        bool, typer.Option("--from-bars", help="Build the training set again too, from the bars and views behind it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a version again from what its record names and compare it bit for bit. Nothing is registered.

    Exit code 0: it is the same version. 1: something differs, and the answer says what.
    """
    from mlops_assets.lifecycle.training.reproduce import reproduce as train_again

    services = services_of()
    services.acting("platform.read")
    found = _version(services.models, version)
    views = services.catalogue.feature_views if from_bars else None
    with telling() as tell:
        result = train_again(found, artifacts=services.models, snapshots=services.snapshots, views=views, progress=tell)
    if as_json:
        print_json({"version": result.version, "is_exact": result.is_exact, "parts": result.parts})
    else:
        _show_reproduction(result)
    if not result.is_exact:
        raise typer.Exit(1)


def _version(models: ModelRegistry, text: str) -> ModelVersion:
    name, at, number = text.removeprefix("models/").partition("@")
    known = {one.model for one in models.list()}
    if name not in known:
        raise UnknownReference(kind="registered model", name=name, known=known, asked_by="mlops models")
    if not at:
        return models.latest(name)
    if not number.isdecimal():
        raise typer.BadParameter(f"{text!r} names no version; write it like {name}@2.")
    return models.get(name, int(number))


def _row(one: ModelVersion, *, is_latest: bool) -> dict[str, object]:
    said = one.metadata
    skill: Mapping[str, Any] = said.get("skill", {})
    loss = str(skill.get("loss", ""))
    return {
        "version": f"{one.model}@{one.version}",
        "is_latest": is_latest,
        "kind": said.get("kind"),
        "declaration": said.get("declaration_version"),
        "loss": loss,
        "on_test": skill.get("test", {}).get("model", {}).get(loss),
        "gains": [f"{gain['baseline']} {gain['estimate']:+.5f}" for gain in skill.get("gains", ())],
        "trials": said.get("trials"),
        "created_at": one.created_at,
        "created_by": one.created_by,
        "fingerprint": one.fingerprint,
        "artifact_sha256": one.artifact_sha256,
        "training_set_fingerprint": one.training_set_fingerprint,
        "code_version": one.code_version,
        "run_id": one.run_id,
    }


def _identity(one: ModelVersion) -> dict[str, object]:
    said = one.metadata
    return {
        "kind": said.get("kind"),
        "owner": said.get("owner"),
        "tier": said.get("tier"),
        "stage": one.stage,
        "fingerprint": one.fingerprint,
        "artifact": f"{one.artifact_sha256} ({said.get('artifact_format')}, {said.get('library')})",
        "declaration": f"{said.get('declaration_version')} ({str(said.get('declaration_fingerprint'))[:12]})",
        "trained": f"{one.created_at:%Y-%m-%d %H:%M:%S} UTC by {one.created_by}, MLflow run {one.run_id}",
    }


def _sources(said: Mapping[str, Any]) -> dict[str, object]:
    machine: Mapping[str, Any] = said.get("environment", {})
    gaps = [f"{gap['earlier']} to {gap['later']}: {gap['sessions']} sessions" for gap in said.get("fold_gaps", ())]
    return {
        "training_set": f"{said.get('training_set')} {said.get('training_set_fingerprint')}",
        "feature_views": [f"{view} {version}" for view, version in said.get("feature_views", {}).items()],
        "features": said.get("features"),
        "fold_rows": said.get("fold_rows"),
        "folds_lie_apart": gaps,
        "horizon_sessions": said.get("horizon_sessions"),
        "parameters": said.get("parameters"),
        "seed": said.get("seed"),
        "trials_before": said.get("trials"),
        "code_version": said.get("code_version"),
        "code_commit": machine.get("code_commit") or "not recorded",
        "python": f"{machine.get('python')} on {machine.get('machine')}",
    }


def _gain(one: Mapping[str, Any]) -> dict[str, object]:
    return {"over": one["baseline"], "gain": one["estimate"], "low": one["low"], "high": one["high"]}


def _period(one: Mapping[str, Any]) -> dict[str, object]:
    gains = [f"{gain['baseline']} {gain['estimate']:+.5f}" for gain in one["gains"]]
    return {"period": f"{one['first']} to {one['last']}", "rows": one["rows"], "loss": one["loss"], "gains": gains}


def _metric(found: Comparison, name: str, values: Mapping[int, float | None]) -> dict[str, object]:
    shown = f"{name} (loss)" if name == found.loss else name
    return {"metric": shown, **{str(version): values[version] for version in found.versions}}


def _difference(one: Difference) -> dict[str, object]:
    return {
        "version": one.version,
        "metric": one.metric,
        "difference": one.estimate,
        "low": one.low,
        "high": one.high,
        "verdict": one.verdict,
    }


def _show_reproduction(result: Reproduction) -> None:
    rows = [_part(one) for one in result.parts]
    verdict = "is reproduced bit for bit" if result.is_exact else "is not reproduced"
    show_rows(f"{result.version} {verdict}", rows, as_json=False)


def _part(one: Part) -> dict[str, object]:
    same = "same" if one.is_same else ("DIFFERS" if one.counts else "differs, which does not count by itself")
    told = one.recorded[:12] if one.is_same else f"{one.recorded[:12]} → {one.found[:12]}"
    return {"part": one.what, "result": same, "recorded": told, "note": one.note}
