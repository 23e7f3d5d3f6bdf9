"""The graph of sweeps: `sweeps/<model>` for each model that declares a search, made only when somebody asks for it."""

# No `from __future__ import annotations`: Dagster compares the annotation of `context` as a class.

from collections.abc import Sequence

import dagster as dg

from mlops_assets.features.freezing import newest_of
from mlops_assets.kernel.fingerprint import fingerprint
from mlops_assets.kernel.identity import Principal
from mlops_assets.lifecycle.kinds.known import kind_of
from mlops_assets.lifecycle.spec import ModelSpec
from mlops_assets.lifecycle.tracking.dagster_runs import mlflow_metadata, run_tags
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.candidate import rule_modules
from mlops_assets.lifecycle.training.sweep import SweepResult, run_sweep, sweep_of, valid_loss
from mlops_assets.lifecycle.training.sweep_report import as_declared, trial_rows, trials_plot
from mlops_assets.lifecycle.training.trials import Trial, TrialLedger
from mlops_assets.orchestration.declared import asset_metadata, code_version, key
from mlops_assets.orchestration.results import plot_metadata
from mlops_assets.orchestration.timing import BY_HAND
from mlops_assets.storage.parquet.snapshots import SnapshotStore


class SweepConfig(dg.Config):
    """How many trials the study shall have; as declared if nobody says."""

    trials: int | None = None


def sweep_definitions(spec: ModelSpec) -> dg.Definitions:
    """Return the asset that searches a model's parameters; nothing for a model that declares no search."""
    return dg.Definitions(assets=[] if spec.search is None else [_sweep(spec)])


def _sweep(spec: ModelSpec) -> dg.AssetsDefinition:
    dataset = f"sweeps/{spec.name}"
    version = code_version(spec.fingerprint, "mlops_assets.lifecycle.training.sweep", *rule_modules(spec))

    @dg.asset(
        key=key(dataset),
        deps=[key(spec.training_set.dataset)],
        description=(
            f"Search for parameters of {spec.name} with a lower {kind_of(spec.kind).loss_name} on the valid fold. "
            "The test fold is not looked at, and nothing is adopted: better values are written into the declaration. "
            "Materialise it by hand; materialised again it goes on where it stopped."
        ),
        owners=[spec.owner],
        group_name="models",
        kinds={"optuna", "mlflow"},
        tags=BY_HAND,
        code_version=version,
        metadata=asset_metadata(file=spec.declared_in),
    )
    def sweep(
        context: dg.AssetExecutionContext,
        config: SweepConfig,
        snapshots: dg.ResourceParam[SnapshotStore],
        tracking: dg.ResourceParam[Tracking],
        trials: dg.ResourceParam[TrialLedger],
        actor: dg.ResourceParam[Principal],
    ) -> dg.MaterializeResult:
        source = newest_of(spec.training_set, snapshots)
        tags = run_tags(
            context,
            tracking,
            asset=dataset,
            description=f"Search for parameters of {spec.name}.",
            code_version=version,
            declaration=f"{spec.version} {spec.fingerprint}",
            actor=actor.name,
        )
        found = run_sweep(
            sweep_of(spec, source),
            valid_loss(snapshots.read(source), spec),
            ledger=trials,
            tracking=tracking,
            by=actor.name,
            trials=config.trials,
            tags=tags,
            on_trial=lambda one: context.log.info(_told(one)),
        )
        return _result(found, tracking)

    return sweep


def _result(found: SweepResult, tracking: Tracking) -> dg.MaterializeResult:
    best = found.best
    return dg.MaterializeResult(
        data_version=dg.DataVersion(fingerprint([[one.number, one.value] for one in found.trials])),
        metadata={
            "trials": len(found.trials),
            "failed_trials": sum(one.value is None for one in found.trials),
            "best_trial": best.number,
            "best_valid_loss": best.value,
            "paste_into_the_declaration": dg.MetadataValue.md(f"```yaml\n{as_declared(best.parameters)}```"),
            "all_trials": _table(found.trials),
            "loss_by_trial": plot_metadata(trials_plot(found.trials)),
            "study": found.study,
            **mlflow_metadata(tracking, found.run_id),
        },
    )


def _table(trials: Sequence[Trial]) -> dg.TableMetadataValue:
    rows = [{name: _cell(value) for name, value in row.items()} for row in trial_rows(trials)]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(row) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(name, "string") for name in rows[0]]),
    )


def _told(one: Trial) -> str:
    value = "failed" if one.value is None else f"{one.value:.6g}"
    return f"trial {one.number}: {value} with {', '.join(f'{name}={_cell(it)}' for name, it in one.parameters.items())}"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
