"""How everything is put together: the one place that builds stores and clients, for Dagster, REST and CLI alike."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mlops_assets.catalog.catalogue import Catalogue
from mlops_assets.catalog.loader import RELEASED, load_catalogue
from mlops_assets.evaluation.store import ReportStore
from mlops_assets.features.registry import FeatureRegistry
from mlops_assets.features.retrieval import FeatureStore
from mlops_assets.features.versions.releases import ReleaseFolder
from mlops_assets.features.versions.serving import view_to_compute
from mlops_assets.features.warehouse import Warehouse
from mlops_assets.governance.store import ApprovalStore
from mlops_assets.kernel.clock import Clock, SystemClock
from mlops_assets.kernel.identity import Principal, Role
from mlops_assets.ledger.store import Ledger
from mlops_assets.lifecycle.deployment import Deployments
from mlops_assets.lifecycle.drift_events import DriftEvents
from mlops_assets.lifecycle.registry import ModelRegistry
from mlops_assets.lifecycle.tracking import Tracking
from mlops_assets.market_data.calendar import TradingCalendar
from mlops_assets.market_data.folder import BarFolder
from mlops_assets.market_data.ingestion import bars_are_current
from mlops_assets.market_data.sample import BundledSample
from mlops_assets.market_data.sources import BarSource
from mlops_assets.market_data.validation import ErrorBudget
from mlops_assets.prompts.providers import ModelProvider, Recorded
from mlops_assets.prompts.store import PromptStore
from mlops_assets.settings import Settings
from mlops_assets.storage.blobs import BlobStore
from mlops_assets.storage.parquet.snapshots import SnapshotStore
from mlops_assets.storage.sql.database import Database

if TYPE_CHECKING:
    from dagster_duckdb import DuckDBResource


class ServiceFactory:
    """Builds each store once, when it is first asked for. Building the factory does no I/O."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()

    def prepare(self) -> None:
        """Create or migrate the embedded stores. Doing it again changes nothing."""
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.database.migrate()
        self.tracking.prepare()

    @cached_property
    def catalogue(self) -> Catalogue:
        return load_catalogue(self.settings.catalog_path)

    @cached_property
    def database(self) -> Database:
        return Database(self.settings.database_url)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.database, self.clock)

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
    def approvals(self) -> ApprovalStore:
        return ApprovalStore(self.database, self.ledger, self.clock)

    @cached_property
    def tracking(self) -> Tracking:
        return Tracking(
            self.database, uri=self.settings.mlflow_tracking_uri, artifacts=self.settings.mlflow_artifacts_path
        )

    @cached_property
    def models(self) -> ModelRegistry:
        return ModelRegistry(self.database, self.ledger, self.blobs, self.tracking, self.clock)

    @cached_property
    def deployments(self) -> Deployments:
        return Deployments(self.database, self.ledger, self.approvals, self.clock)

    @cached_property
    def drift_events(self) -> DriftEvents:
        return DriftEvents(self.database, self.ledger, self.clock)

    @cached_property
    def reports(self) -> ReportStore:
        return ReportStore(self.database, self.ledger, self.blobs, self.clock)

    @cached_property
    def prompt_store(self) -> PromptStore:
        return PromptStore(self.database, self.ledger, self.blobs, self.clock)

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

    @property
    def operator(self) -> Principal:
        """Who acts on this command line."""
        return Principal(
            name=self.settings.operator_name, roles=frozenset({Role.DATA_ENGINEER, Role.MLOPS, Role.QUANT})
        )

    @property
    def actor(self) -> Principal:
        """Who acts in Dagster runs that nobody launched by name."""
        return Principal(name="dagster", roles=frozenset({Role.SERVICE}))
