"""How everything is put together: the one place that builds stores and clients, for Dagster, REST and CLI alike."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.alerts.addresses import mail_server
from mlops_assets.alerts.channels import Channel, LogChannel, SlackChannel, WebhookChannel
from mlops_assets.alerts.mail import MailChannel
from mlops_assets.alerts.service import Alerts
from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.loader import RELEASED, load_catalogue
from mlops_assets.dossier.contents import Contents
from mlops_assets.dossier.declared import declarations_of
from mlops_assets.dossier.dossiers import Dossiers
from mlops_assets.evaluation.store import ReportStore
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.versions.serving import view_to_compute
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.governance.rules import ApprovalRules, load_approval_rules
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.identity.access import AccessPolicy, load_access
from mlops_assets.identity.directory import Directory
from mlops_assets.identity.operator import OperatorFile, bearer_of
from mlops_assets.identity.principals import DAGSTER
from mlops_assets.identity.run_identity import RunIdentity
from mlops_assets.identity.sign_in import SignIn
from mlops_assets.identity.token_store import TokenStore
from mlops_assets.kernel.clock import Clock, SystemClock
from mlops_assets.kernel.identity import Principal
from mlops_assets.kernel.words import Words
from mlops_assets.ledger.checkpoint_folder import CheckpointFolder
from mlops_assets.ledger.checkpoints import Checkpoints
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment.attestations import Attestations
from mlops_assets.lifecycle.deployment.deployments import Deployments, Surroundings
from mlops_assets.lifecycle.deployment.evidence import EvidenceDesk
from mlops_assets.lifecycle.deployment.serving_store import ServingStore
from mlops_assets.lifecycle.drift_events import DriftEvents
from mlops_assets.lifecycle.mirrors.resend import MirrorResend
from mlops_assets.lifecycle.mirrors.wandb_mirror import WandbMirror
from mlops_assets.lifecycle.operations.aliases import Aliases
from mlops_assets.lifecycle.operations.drill import Drill
from mlops_assets.lifecycle.operations.guarding import Guard
from mlops_assets.lifecycle.operations.limit_watch import LimitWatch
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.retraining.requests import Retrainings, learned_from
from mlops_assets.lifecycle.serving.health import HealthStore
from mlops_assets.lifecycle.serving.loaded_models import LoadedModels
from mlops_assets.lifecycle.serving.request_recorder import RequestRecorder
from mlops_assets.lifecycle.serving.served_features import ServedFeatures
from mlops_assets.lifecycle.serving.service import PredictionService
from mlops_assets.lifecycle.tracking.tracking import Tracking
from mlops_assets.lifecycle.training.trials import TrialLedger
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.market_data.ingestion import bars_are_current, source_key
from mlops_assets.market_data.sample import BundledSample
from mlops_assets.market_data.sources import BarSource
from mlops_assets.market_data.validation import ErrorBudget
from mlops_assets.prompts.providers import ModelProvider, Recorded
from mlops_assets.prompts.store import PromptStore
from mlops_assets.settings import PACKAGE, SOURCE_TREE, Settings, process_environment
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.keys import KeyFolder
from mlops_assets.storage.mirror.mirrors import Mirrors
from mlops_assets.storage.mirror.mongodb import MongoMirror
from mlops_assets.storage.mirror.outbox import MirrorOutbox
from mlops_assets.storage.mirror.target import MirrorTarget
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database

if TYPE_CHECKING:
    from dagster_duckdb import DuckDBResource

    from mlops_assets.identity.oidc import OidcIssuer

_ACCESS, _APPROVAL_RULES = "access.yaml", "approval_rules.yaml"


class ServiceFactory:
    """Builds each store once, when it is first asked for. Building the factory does no I/O."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()

    def prepare(self) -> None:
        """Create or migrate the embedded stores. Doing it again changes nothing."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.database.migrate()
        self.directory.bootstrap(self.settings.operator_name)
        self.operator_file.ensure(self.settings.operator_name)
        self.tracking.prepare()

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.settings.catalog_path)

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database_url)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.database, self.clock, CheckpointFolder(self.settings.checkpoints_path, self.keys))

    @cached_property
    def keys(self) -> KeyFolder:
        return KeyFolder(self.settings.keys_path)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.ledger, self.keys, self.settings.checkpoints_path, self.clock)

    @cached_property
    def snapshots(self) -> SnapshotStore:
        return SnapshotStore(self.settings.snapshots_path, self.database, self.ledger, self.clock)

    @cached_property
    def blobs(self) -> BlobStore:
        return BlobStore(self.settings.blobs_path)

    @cached_property
    def features(self) -> FeatureStore:
        return FeatureStore(self.snapshots, self.catalogue.feature_views.values())

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.settings.duckdb_path, self.snapshots, list(self.catalogue.feature_views.values()))

    @cached_property
    def feature_releases(self) -> ReleaseFolder:
        return ReleaseFolder(self.settings.catalog_path / "feature_views" / RELEASED)

    @cached_property
    def feature_registry(self) -> FeatureRegistry:
        return FeatureRegistry(self.database, self.ledger, self.clock)

    @cached_property
    def duckdb(self) -> DuckDBResource:
        """Dagster's resource for DuckDB, opened for reading only: several processes may read at once."""
        from dagster_duckdb import DuckDBResource

        return DuckDBResource(database=str(self.settings.duckdb_path), connection_config={"access_mode": "READ_ONLY"})

    @cached_property
    def approval_rules(self) -> ApprovalRules:
        """What approvals need by tier: the catalogue's own rules, otherwise those that the platform comes with."""
        return load_approval_rules(self._catalogue_file(_APPROVAL_RULES))

    @cached_property
    def approvals(self) -> ApprovalStore:
        return ApprovalStore(
            self.database,
            self.ledger,
            self.clock,
            rules=self.approval_rules,
            access=self.access,
            directory=self.directory,
            seal=lambda: self.checkpoints.sign(),
        )

    @cached_property
    def tracking(self) -> Tracking:
        return Tracking(
            self.database,
            uri=self.settings.mlflow_tracking_uri,
            artifacts=self.settings.mlflow_artifacts_path,
            mlflow_ui=self.settings.mlflow_ui_url,
            dagster_ui=self.settings.dagster_ui_url,
            source_tree=SOURCE_TREE,
        )

    @cached_property
    def models(self) -> ModelRegistry:
        return ModelRegistry(
            self.database, self.ledger, self.blobs, self.tracking, self.clock, outbox=self.mirror_outbox
        )

    @cached_property
    def trials(self) -> TrialLedger:
        return TrialLedger(self.database, self.ledger, self.clock)

    @cached_property
    def deployments(self) -> Deployments:
        return Deployments(
            self.database,
            self.ledger,
            self.approvals,
            self.clock,
            access=self.access,
            around=Surroundings(
                gather=self.evidence.gather,
                sessions_since=self._sessions_since,
                breaches=self.limit_watch.breaches,
                project=lambda serving: self.aliases.project(serving, by=DAGSTER),
            ),
            outbox=self.mirror_outbox,
        )

    def _sessions_since(self, at: datetime) -> int:
        """Count the sessions that closed after an instant."""
        return self.calendar.closed_between(at, self.clock.now())

    @cached_property
    def evidence(self) -> EvidenceDesk:
        catalogue = self.catalogue
        return EvidenceDesk(
            declared=catalogue.models,
            scenarios_of=lambda model: [scenario.name for scenario in catalogue.scenarios_of(model)],
            models=self.models,
            snapshots=self.snapshots,
            reports=self.reports,
            certificates=self.feature_registry,
            attestations=self.attestations,
        )

    @cached_property
    def attestations(self) -> Attestations:
        return Attestations(self.database, self.ledger, self.clock, access=self.access)

    @cached_property
    def serving(self) -> ServingStore:
        return ServingStore(self.database)

    @cached_property
    def health(self) -> HealthStore:
        return HealthStore(self.database)

    @cached_property
    def limit_watch(self) -> LimitWatch:
        return LimitWatch(self.serving, self.health, self.snapshots, self.clock)

    @cached_property
    def guard(self) -> Guard:
        return Guard(self.serving, self.deployments, self.limit_watch, self.alerts)

    @cached_property
    def aliases(self) -> Aliases:
        return Aliases(self.database, self.ledger, self.tracking, self.models, self.serving, self.alerts)

    @cached_property
    def drill(self) -> Drill:
        return Drill(
            models=self.models,
            serving=self.serving,
            features=ServedFeatures(self.features, self.snapshots),
            snapshots=self.snapshots,
            rules=self.approval_rules,
            access=self.access,
            clock=self.clock,
        )

    @cached_property
    def loaded_models(self) -> LoadedModels:
        return LoadedModels(self.models)

    @cached_property
    def predictions(self) -> PredictionService:
        return PredictionService(
            self.serving,
            self.loaded_models,
            ServedFeatures(self.features, self.snapshots),
            RequestRecorder(self.health, self.clock),
            self.access,
            self.clock,
            self.catalogue.models,
        )

    @cached_property
    def mirror_outbox(self) -> MirrorOutbox:
        """What the mirrors get; it records also while none is on, so that switching one on later loses nothing."""
        return MirrorOutbox(self.database, self.clock)

    @cached_property
    def mirror_targets(self) -> list[MirrorTarget]:
        """The mirrors that the settings switch on. Their clients are imported when something is delivered."""
        settings, targets = self.settings, list[MirrorTarget]()
        if settings.mongodb_url is not None:
            targets.append(MongoMirror(settings.mongodb_url.get_secret_value(), settings.mongodb_database))
        if settings.wandb_mode != "off":
            environment = process_environment(settings)
            folder, project = settings.wandb_path, settings.wandb_project
            targets.append(
                WandbMirror(
                    settings.wandb_mode, project=project, folder=folder, blobs=self.blobs, environment=environment
                )
            )
        return targets

    @cached_property
    def mirrors(self) -> Mirrors:
        return Mirrors(self.mirror_outbox, self.mirror_targets, self.clock)

    @cached_property
    def mirror_resend(self) -> MirrorResend:
        return MirrorResend(self.database, self.ledger, self.mirror_outbox, self.models, self.serving)

    @cached_property
    def retrainings(self) -> Retrainings:
        return Retrainings(self.database, self.ledger, self.alerts, self.clock)

    def models_of_another_source(self) -> list[str]:
        """Name the datasets of models that learned from bars of another source than the one that is set."""
        return [
            model.dataset
            for model in self.catalogue.models.values()
            if (latest := self.models.find_latest(model.name)) is not None
            and not learned_from(latest, self.snapshots, source=source_key(self.market.name))
        ]

    @cached_property
    def drift_events(self) -> DriftEvents:
        return DriftEvents(self.database, self.ledger, self.clock, self.alerts)

    @cached_property
    def alerts(self) -> Alerts:
        return Alerts(self.database, self.ledger, self.clock, self.alert_channels)

    @cached_property
    def alert_channels(self) -> list[Channel]:
        """Where alerts go: always the log, and what the settings name."""
        settings, words = self.settings, Words(self.settings.locale)
        channels: list[Channel] = [LogChannel(settings.logs_path / "alerts.jsonl")]
        if settings.alert_webhook_url is not None and (secret := settings.alert_webhook_secret) is not None:
            channels.append(WebhookChannel(settings.alert_webhook_url, secret.get_secret_value(), self.clock))
        if settings.alert_slack_url is not None:
            channels.append(SlackChannel(settings.alert_slack_url.get_secret_value(), words, self.clock))
        if settings.alert_smtp_url is not None and settings.alert_email_from is not None:
            server = mail_server(settings.alert_smtp_url.get_secret_value())
            sender, receivers = settings.alert_email_from, settings.alert_email_to
            channels.append(MailChannel(server, sender=sender, receivers=receivers, words=words))
        return channels

    @cached_property
    def reports(self) -> ReportStore:
        return ReportStore(self.database, self.ledger, self.blobs, self.clock)

    @cached_property
    def prompt_store(self) -> PromptStore:
        return PromptStore(self.database, self.ledger, self.blobs, self.clock)

    @cached_property
    def dossiers(self) -> Dossiers:
        return Dossiers(
            self.database,
            self.ledger,
            self.checkpoints,
            Contents(self.blobs, self.snapshots),
            self.clock,
            declarations=lambda traced: declarations_of(
                traced,
                self.catalogue,
                rules=[self._catalogue_file(name) for name in (_ACCESS, _APPROVAL_RULES)],
                releases=self.feature_releases,
            ),
            access=self.access,
            locale=self.settings.locale,
        )

    @cached_property
    def provider(self) -> ModelProvider:
        return Recorded(self.settings.catalog_path / "prompts")

    @cached_property
    def calendar(self) -> TradingCalendar:
        return TradingCalendar()

    @cached_property
    def market(self) -> BarSource:
        """The source of bars that the settings name."""
        settings = self.settings
        if settings.source == "folder" and settings.source_folder is not None:
            return BarFolder(settings.source_folder, index_symbols=settings.source_index_symbols)
        if settings.source == "alpha_vantage" and settings.alpha_vantage_api_key is not None:
            from mlops_assets.market_data.alpha_vantage import AlphaVantage

            return AlphaVantage(
                api_key=settings.alpha_vantage_api_key.get_secret_value(),
                symbols=settings.alpha_vantage_symbols,
                index_symbols=(settings.alpha_vantage_index_symbol,),
            )
        return BundledSample()

    @cached_property
    def error_budget(self) -> ErrorBudget:
        return ErrorBudget(max_share=self.settings.error_budget)

    def bars_are_current(self) -> bool:
        """Tell whether the published bars are what the source holds now."""
        from mlops_assets.market_data.assets import bars_code_version

        version = bars_code_version(self.error_budget)
        return bars_are_current(
            self.snapshots, self.ledger, self.market, version, calendar=self.calendar, at=self.clock.now()
        )

    def views_not_as_active(self) -> list[str]:
        """Name the datasets of views that another version computed than the one that is active."""
        views = self.catalogue.feature_views
        return [
            view.dataset
            for view in views.values()
            if (head := self.snapshots.find_head(view.dataset)) is not None
            and head.details.get("view_version")
            != view_to_compute(view, views, registry=self.feature_registry, releases=self.feature_releases).version
        ]

    @cached_property
    def access(self) -> AccessPolicy:
        """The policy table: the catalogue's own, otherwise the one that the platform comes with."""
        return load_access(self._catalogue_file(_ACCESS))

    @cached_property
    def directory(self) -> Directory:
        return Directory(self.database, self.ledger, self.clock, file=self.settings.principals_file)

    @cached_property
    def tokens(self) -> TokenStore:
        return TokenStore(self.database, self.ledger, self.clock, access=self.access, directory=self.directory)

    @cached_property
    def sign_in(self) -> SignIn:
        return SignIn(self.tokens, self.directory, self._oidc())

    def _oidc(self) -> OidcIssuer | None:
        issuer, audience = self.settings.oidc_issuer, self.settings.oidc_audience
        if issuer is None or audience is None:
            return None
        from mlops_assets.identity.oidc import OidcIssuer

        return OidcIssuer(issuer, audience=audience, claim=self.settings.oidc_principal_claim, clock=self.clock)

    @cached_property
    def operator_file(self) -> OperatorFile:
        return OperatorFile(
            self.settings.api_token_path, tokens=self.tokens, directory=self.directory, clock=self.clock
        )

    @cached_property
    def run_identity(self) -> RunIdentity:
        return RunIdentity(KeyFolder(self.settings.keys_path), self.directory, self.access, self.clock)

    @property
    def operator_bearer(self) -> str:
        """The token of this command line."""
        token = self.settings.token
        return bearer_of(None if token is None else token.get_secret_value(), self.settings.api_token_path)

    @property
    def operator(self) -> Principal:
        """Who acts on this command line; asked anew each time, so that a revoked token ends at once."""
        return self.sign_in.principal_of(self.operator_bearer)

    def _catalogue_file(self, name: str) -> Path:
        """Return a file of the catalogue, or the one that the platform comes with if it has none of its own."""
        own = self.settings.catalog_path / name
        return own if own.is_file() else PACKAGE / "catalog" / name

    def acting(self, action: str) -> Principal:
        """Return who acts on this command line, if they may do that.

        Raises:
            Unauthenticated: if nobody is signed in.
            Forbidden: if they may not.
        """
        return self.access.require(self.operator, action)
