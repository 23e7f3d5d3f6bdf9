"""Which version MLflow shows as champion: a projection of the log of who serves, put right when somebody moved it.

Of a registered model the alias `champion_<environment>` names the MLflow version of the champion; every alias that
begins so is ours, and all others are left alone. Nothing is read back: who serves is decided in the platform's database
alone. An alias that lags behind the log is moved on. One that was moved, or whose version was deleted, behind the
platform's back is put right and told as an incident.

A correction is made under the lock of the platform's writers: nobody promotes and no other reconciler corrects
meanwhile, so what is wrong is told once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from mlops_assets.alerts.alert import Alert, Severity
from mlops_assets.alerts.service import Alerts
from mlops_assets.kernel.change import Change
from mlops_assets.kernel.fingerprint import Json
from mlops_assets.lifecycle.deployment.serving_moves import Serving
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.deployment.serving_store import head as newest_move
from mlops_assets.lifecycle.registry import ModelRegistry, ModelVersion
from mlops_assets.lifecycle.tracking.tracking import FINGERPRINT_TAG, RunKey, Tracking
from mlops_assets.storage.journal import Journal
from mlops_assets.storage.sql.database import Database
from mlops_assets.storage.sql.tables import ledger_entry, model_version, tracked_run

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "champion_"
PROJECT, REVERT = "alias.project", "alias.revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What was done to one alias. `found` and `wanted` are MLflow's numbers; None where there is no alias.

    An incident is a difference that the platform did not make; the others are aliases that lagged behind a move.
    """

    model: str
    environment: str
    epoch: int
    found: str | None
    wanted: str | None
    is_incident: bool
    was_deleted: bool = False

    def __str__(self) -> str:
        said = f"{alias_of(self.environment)} of {self.model} named {_shown(self.found)}, now {_shown(self.wanted)}"
        return f"{said}; the champion's version had been deleted and was made again" if self.was_deleted else said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Projected:
    """What we last made an alias name, and at which epoch."""

    epoch: int
    number: str | None


class Aliases:
    """Projects who serves to MLflow's registry."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        tracking: Tracking,
        models: ModelRegistry,
        serving: ServingStore,
        alerts: Alerts,
    ) -> None:
        self._database, self._journal, self._alerts = database, journal, alerts
        self._tracking, self._models, self._serving = tracking, models, serving

    def project(self, serving: Serving, *, by: str) -> Correction | None:
        """Let one alias follow who serves by now, and return what that took; None if it did already.

        Raises:
            TrackingUnavailable: if MLflow does not answer; nothing is changed.
        """
        aliases = self._aliases().get(serving.model, {})
        return self._settle(serving.model, serving.environment, aliases, by=by)

    def reconcile(self, *, by: str) -> list[Correction]:
        """Compare every alias that is ours with who serves, put right what differs and return it.

        Raises:
            TrackingUnavailable: if MLflow does not answer; nothing is changed.
        """
        found = self._aliases()
        places = {(head.model, head.environment) for head in self._serving.heads()}
        for model in self._known_models():
            ours = (alias for alias in found.get(model, {}) if alias.startswith(PREFIX))
            places |= {(model, alias.removeprefix(PREFIX)) for alias in ours}
        settled = (self._settle(*place, found.get(place[0], {}), by=by) for place in sorted(places))
        return [one for one in settled if one is not None]

    def _settle(self, model: str, environment: str, aliases: Mapping[str, str], *, by: str) -> Correction | None:
        alias, head = alias_of(environment), self._serving.now(model, environment)
        champion = self._champion(head)
        wanted = None if champion is None else self._number(champion)
        was_deleted = champion is not None and wanted is None
        with self._database.read() as connection:
            is_recorded = _last(connection, model, environment).number == wanted
        if aliases.get(alias) == wanted and is_recorded and not was_deleted:
            return None
        if champion is not None and was_deleted:
            self._make_again(champion)
        with self._database.begin() as connection:
            return self._correct(connection, model, environment, was_deleted=was_deleted, by=by)

    def _correct(
        self, connection: sa.Connection, model: str, environment: str, *, was_deleted: bool, by: str
    ) -> Correction | None:
        alias, head = alias_of(environment), newest_move(connection, model, environment)
        champion = self._champion(head)
        wanted = None if champion is None else self._number(champion)
        found = self._aliases().get(model, {}).get(alias)
        last = _last(connection, model, environment)
        if found == wanted == last.number:
            return None
        lags = last.epoch < head.epoch and found == last.number
        correction = Correction(
            model=model,
            environment=environment,
            epoch=head.epoch,
            found=found,
            wanted=wanted,
            is_incident=found != wanted and (was_deleted or not lags),
            was_deleted=was_deleted,
        )
        self._record(connection, correction, champion, by=by)
        if found == wanted:  # a process died between the alias and its entry; the next move must find the entry
            return None
        self._write(model, alias, wanted)
        return correction

    def _record(
        self, connection: sa.Connection, correction: Correction, champion: ModelVersion | None, *, by: str
    ) -> None:
        details: dict[str, Json] = {
            "alias": alias_of(correction.environment),
            "epoch": correction.epoch,
            "found": correction.found,
            "mlflow_version": correction.wanted,
            "was_deleted": correction.was_deleted,
        }
        self._journal.append(
            connection,
            Change(
                actor=by,
                action=REVERT if correction.is_incident else PROJECT,
                subject=_subject(correction.model, correction.environment),
                after=None if champion is None else champion.fingerprint,
                reason=str(correction),
                details=details,
            ),
        )
        if correction.is_incident:
            self._alerts.raise_within(connection, _alert(correction, details), by)

    def _champion(self, head: Serving) -> ModelVersion | None:
        return None if head.champion is None else self._models.get(head.model, head.champion.version)

    def _number(self, version: ModelVersion) -> str | None:
        """Return MLflow's number of a version, or None if it has none (any more)."""
        with self._tracking.reading() as client:
            where = f"name = '{version.model}' and tags.`{FINGERPRINT_TAG}` = '{version.fingerprint}'"
            found = client.search_model_versions(where)
        numbers = sorted(int(one.version) for one in found if one.run_id == version.run_id)
        return str(numbers[0]) if numbers else None

    def _aliases(self) -> dict[str, dict[str, str]]:
        """Return every alias in MLflow by model."""
        with self._tracking.reading() as client:
            return {
                one.name: {alias: str(number) for alias, number in one.aliases.items()}
                for one in _registered_models(client)
            }

    def _make_again(self, version: ModelVersion) -> None:
        """Register a version in MLflow again. The number that was elected for it leads nowhere, and is forgotten."""
        key = RunKey(asset=f"registry/{version.model}", root_run_id=version.fingerprint)
        row = (tracked_run.c.asset == key.asset, tracked_run.c.root_run_id == key.root_run_id)
        with self._database.begin() as connection:
            if self._number(version) is None:
                connection.execute(sa.update(tracked_run).where(*row).values(run_id=None))
        with self._tracking.reading():
            self._models.project(version)

    def _write(self, model: str, alias: str, number: str | None) -> None:
        with self._tracking.reading() as client:
            if number is None:
                client.delete_registered_model_alias(model, alias)
            else:
                client.set_registered_model_alias(model, alias, number)

    def _known_models(self) -> list[str]:
        statement = sa.select(model_version.c.model).distinct()
        with self._database.read() as connection:
            return list(connection.scalars(statement))


def alias_of(environment: str) -> str:
    """Return the alias that names the champion of an environment."""
    return f"{PREFIX}{environment}"


def _registered_models(client: MlflowClient):  # noqa: ANN202 - MLflow's own list
    """Yield every registered model, a page at a time."""
    page = client.search_registered_models()
    yield from page
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        yield from page


def _last(connection: sa.Connection, model: str, environment: str) -> _Projected:
    statement = (
        sa.select(ledger_entry.c.details)
        .where(
            ledger_entry.c.subject == _subject(model, environment),
            ledger_entry.c.action.in_((PROJECT, REVERT)),
        )
        .order_by(ledger_entry.c.seq.desc())
        .limit(1)
    )
    details = connection.scalar(statement)
    if details is None:
        return _Projected(epoch=0, number=None)
    return _Projected(epoch=int(details["epoch"]), number=details["mlflow_version"])


def _subject(model: str, environment: str) -> str:
    return f"aliases/{model}/{environment}"


def _alert(correction: Correction, details: Mapping[str, Json]) -> Alert:
    return Alert(
        key=f"alias:{correction.model}:{correction.environment}",
        kind="alias_moved",
        severity=Severity.HIGH,
        subject=_subject(correction.model, correction.environment),
        summary=(
            f"Somebody changed {correction.model} in MLflow behind the platform's back; it was put right: {correction}"
        ),
        details=details,
    )


def _shown(number: str | None) -> str:
    return "no version" if number is None else f"version {number}"
