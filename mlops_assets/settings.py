"""What this installation is set to: the one reader of the environment, typed, validated, with documented defaults.

Every setting is an environment variable `MLOPS_<NAME>`. The object holds plain values; whoever builds stores and
clients from them is `services.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mlops_assets.alerts import addresses
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.kernel.words import Locale

PREFIX = "MLOPS_"
PACKAGE = Path(__file__).resolve().parent
SOURCE_TREE = PACKAGE.parent

# The file of a SQLite URL; one in memory has no path, and `file:` begins a URI of SQLite's own.
_SQLITE_FILE = re.compile(r"(?P<driver>sqlite(?:\+\w+)?:///)(?!:memory:|file:)(?P<path>[^?]+)(?P<options>(?:\?.*)?)")

Source = Literal["sample", "folder", "alpha_vantage"]


class InvalidSettings(PlatformError):
    """An environment variable does not hold what it must."""

    code: ClassVar[str] = "invalid_settings"


def default_home() -> Path:
    """Return `.mlops` beside pyproject.toml in a source tree, otherwise `~/.mlops`."""
    in_source_tree = (SOURCE_TREE / "pyproject.toml").is_file()
    return SOURCE_TREE / ".mlops" if in_source_tree else Path.home() / ".mlops"


def locale_of_environment() -> Locale:
    """Return the language that the POSIX locale variables ask for."""
    asked = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "ko" if asked.lower().startswith("ko") else "en"


def _sqlite_in_home(data: Mapping[str, Any], name: str) -> str:
    return f"sqlite:///{(data['home'] / name).as_posix()}"


class Settings(BaseSettings):
    """All settings of one installation. Build it with `load_settings`, which words the errors for people."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", validate_default=True)

    home: Path = Field(
        default_factory=default_home,
        description="Folder of everything the platform stores: databases, snapshots, runs, logs, token.",
    )
    locale: Locale = Field(default_factory=locale_of_environment, description="Language of what is printed: en or ko.")
    catalog_path: Path = Field(default=PACKAGE / "catalog", description="Folder of the declarations.")

    source: Source = Field(default="sample", description="Where daily bars come from.")
    source_folder: Path | None = Field(
        default=None, description="Folder of CSV or Parquet files with bars; needed by source=folder."
    )
    source_index_symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Which symbols of that folder are indexes, not stocks, separated by commas."
    )
    alpha_vantage_api_key: SecretStr | None = Field(
        default=None, description="API key of Alpha Vantage; needed by source=alpha_vantage."
    )
    alpha_vantage_symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("AAPL", "MSFT", "JPM", "XOM", "JNJ"),
        description="Symbols to ask Alpha Vantage for, separated by commas.",
    )
    alpha_vantage_index_symbol: str = Field(
        default="SPY", description="Symbol whose bars stand for the market when the source is Alpha Vantage."
    )
    error_budget: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest fraction of a source's bars that may be quarantined before the run fails.",
    )

    database_url: str = Field(
        default_factory=lambda data: _sqlite_in_home(data, "platform.db"),
        description="SQLAlchemy URL of the platform's registry, approvals and ledger.",
    )
    mlflow_tracking_uri: str = Field(
        default_factory=lambda data: _sqlite_in_home(data, "mlflow.db"),
        description="MLflow tracking server or database.",
    )

    mlflow_ui_url: str | None = Field(
        default=None, description="Address of MLflow's own UI, for links; a tracking server's address needs no other."
    )
    mongodb_url: SecretStr | None = Field(
        default=None, description="MongoDB that gets a copy of the lifecycle's metadata; off without it."
    )
    mongodb_database: str = Field(default="mlops_assets", min_length=1, description="Name of the database in there.")
    wandb_mode: Literal["off", "offline", "online"] = Field(
        default="off",
        description="Whether model versions are mirrored to Weights & Biases: into files, or to its server.",
    )
    wandb_project: str = Field(default="mlops_assets", min_length=1, description="Project of that mirror.")

    host: str = Field(default="127.0.0.1", description="Address that the Dagster UI and the REST API listen on.")
    ui_port: int = Field(default=3000, ge=1, le=65535, description="Port of the Dagster UI.")
    api_port: int = Field(default=8000, ge=1, le=65535, description="Port of the REST API.")
    body_limit_bytes: int = Field(default=1_000_000, ge=1_000, description="Largest accepted HTTP request body.")

    debug: bool = Field(
        default=False, description="Whether a command that fails for an unknown reason shows its traceback."
    )

    token: SecretStr | None = Field(
        default=None,
        description="API token of who acts on the command line; without it, the token in the home's file api_token.",
    )
    operator_name: str = Field(
        default="local-operator",
        min_length=1,
        max_length=200,
        description="Name of the first principal: `up` makes it in an empty database and gives it the file api_token.",
    )
    principals_file: Path | None = Field(
        default=None, description="YAML file of principals and their roles that `up` brings into the database."
    )
    keys_path: Path = Field(
        default_factory=lambda data: data["home"] / "keys",
        description="Folder of the ledger's signing keys; keep it away from the database's administrator.",
    )
    checkpoints_path: Path = Field(
        default_factory=lambda data: data["home"] / "checkpoints",
        description="Folder of the ledger's signed checkpoints; best under another administrator.",
    )
    oidc_issuer: str | None = Field(
        default=None, description="URL of the OpenID Connect issuer whose bearer tokens are accepted."
    )
    oidc_audience: str | None = Field(
        default=None, description="Audience that such a token must name; needed with an issuer."
    )
    oidc_principal_claim: str = Field(
        default="sub", description="Claim of such a token that is the `oidc_subject` of a principal."
    )

    alert_webhook_url: str | None = Field(default=None, description="Where alerts are posted, signed.")
    alert_webhook_secret: SecretStr | None = Field(
        default=None, description="Secret of that signature (Standard Webhooks, `whsec_` and base64)."
    )
    alert_slack_url: SecretStr | None = Field(default=None, description="Slack-format incoming webhook for alerts.")
    alert_smtp_url: SecretStr | None = Field(
        default=None, description="Mail server for alerts: smtp://user:password@host:port, or smtps://."
    )
    alert_email_from: str | None = Field(default=None, description="Sender of alerts by mail.")
    alert_email_to: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Receivers of alerts by mail, separated by commas."
    )

    @field_validator("source_index_symbols", "alpha_vantage_symbols", "alert_email_to", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("home", "catalog_path", "source_folder", "principals_file", "keys_path", "checkpoints_path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

    @field_validator("database_url", "mlflow_tracking_uri")
    @classmethod
    def _absolute_sqlite(cls, value: str) -> str:
        if not (found := _SQLITE_FILE.fullmatch(value)):
            return value
        path = Path(found["path"])
        if path.is_absolute():
            return value
        return f"{found['driver']}{path.expanduser().resolve().as_posix()}{found['options']}"

    @field_validator("alert_webhook_url", "alert_slack_url")
    @classmethod
    def _webhook_url(cls, value: str | SecretStr | None) -> str | SecretStr | None:
        if value is not None:
            addresses.webhook_url(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    @field_validator("alert_webhook_secret")
    @classmethod
    def _webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            addresses.webhook_secret(value.get_secret_value())
        return value

    @field_validator("alert_smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            addresses.mail_server(value.get_secret_value())
        return value

    @field_validator("alert_email_from", "alert_email_to")
    @classmethod
    def _mail_addresses(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for address in (value,) if isinstance(value, str) else value or ():
            addresses.mail_address(address)
        return value

    @model_validator(mode="after")
    def _source_has_what_it_needs(self) -> Settings:
        if self.source == "folder" and self.source_folder is None:
            raise ValueError(f"source=folder needs {PREFIX}SOURCE_FOLDER, the folder with your CSV or Parquet files")
        if self.source == "alpha_vantage" and self.alpha_vantage_api_key is None:
            raise ValueError(f"source=alpha_vantage needs {PREFIX}ALPHA_VANTAGE_API_KEY")
        return self

    @model_validator(mode="after")
    def _parts_come_together(self) -> Settings:
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError(f"{PREFIX}OIDC_ISSUER and {PREFIX}OIDC_AUDIENCE go together; set both or neither")
        if (self.alert_webhook_url is None) != (self.alert_webhook_secret is None):
            raise ValueError(f"{PREFIX}ALERT_WEBHOOK_URL and {PREFIX}ALERT_WEBHOOK_SECRET go together")
        if self.alert_smtp_url is not None and not (self.alert_email_from and self.alert_email_to):
            raise ValueError(f"{PREFIX}ALERT_SMTP_URL needs {PREFIX}ALERT_EMAIL_FROM and {PREFIX}ALERT_EMAIL_TO")
        return self

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def snapshots_path(self) -> Path:
        return self.home / "snapshots"

    @property
    def blobs_path(self) -> Path:
        return self.home / "blobs"

    @property
    def duckdb_path(self) -> Path:
        """The analysts' views: a cache that is rebuilt from the manifest."""
        return self.home / "views.duckdb"

    @property
    def mlflow_artifacts_path(self) -> Path:
        return self.home / "mlflow-artifacts"

    @property
    def logs_path(self) -> Path:
        return self.home / "logs"

    @property
    def dagster_ui_url(self) -> str:
        return f"http://{self.host}:{self.ui_port}"

    @property
    def wandb_path(self) -> Path:
        """Runs for Weights & Biases that wait to be synchronised."""
        return self.home / "wandb"

    @property
    def api_token_path(self) -> Path:
        return self.home / "api_token"

    def as_environment(self) -> dict[str, str]:
        """Return the variables that make a child process see the same places, whatever its working directory."""
        source_folder = {} if self.source_folder is None else {f"{PREFIX}SOURCE_FOLDER": str(self.source_folder)}
        return {
            **source_folder,
            f"{PREFIX}HOME": str(self.home),
            f"{PREFIX}CATALOG_PATH": str(self.catalog_path),
            f"{PREFIX}DATABASE_URL": self.database_url,
            f"{PREFIX}MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            f"{PREFIX}KEYS_PATH": str(self.keys_path),
            f"{PREFIX}CHECKPOINTS_PATH": str(self.checkpoints_path),
            f"{PREFIX}LOCALE": self.locale,
            f"{PREFIX}UI_PORT": str(self.ui_port),
            f"{PREFIX}API_PORT": str(self.api_port),
            "DAGSTER_HOME": str(self.dagster_home),
        }


def load_settings(**overrides: object) -> Settings:
    """Read the environment; `overrides` win over it.

    Raises:
        InvalidSettings: naming every variable that does not hold what it must.
    """
    try:
        return Settings(**cast("dict[str, Any]", overrides))
    except ValidationError as error:
        problems = "; ".join(
            _problem(item["loc"], item["msg"], item.get("input"))
            for item in error.errors()
            if item["type"] != "default_factory_not_called"  # a consequence of another problem in the list
        )
        raise InvalidSettings(f"{problems}. Correct or unset the variable and run the command again.") from None


def wants_tracebacks() -> bool:
    """Tell whether the environment asks for tracebacks; no if its settings are wrong, which has its own message."""
    try:
        return load_settings().debug
    except InvalidSettings:
        return False


PRIVATE = {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""What keeps libraries from reporting use to their makers, and MLflow from running what it loads."""


def keep_private() -> None:
    """Set those variables for this process, unless the user has set them; libraries read them when first imported."""
    for name, value in PRIVATE.items():
        os.environ.setdefault(name, value)


def process_environment(settings: Settings) -> dict[str, str]:
    """Return the environment for a child process: this one's, with the settings that must not depend on its folder.

    The token of who acts on this command line stays here: services act for whoever asks them.
    """
    inherited = {name: value for name, value in os.environ.items() if name != f"{PREFIX}TOKEN"}
    return {**PRIVATE, **inherited, **settings.as_environment()}


def checking_environment(home: Path) -> dict[str, str]:
    """Return the environment for checks and tests: no setting of this installation reaches them but its language."""
    others = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "DAGSTER_"))}
    return {**PRIVATE, **others, f"{PREFIX}HOME": str(home), f"{PREFIX}ENVIRONMENT": "current"}


def _problem(location: Sequence[int | str], message: str, found: object) -> str:
    message = message.removeprefix("Value error, ")
    if not location:
        return message
    name = f"{PREFIX}{str(location[0]).upper()}"
    is_secret = any(word in name for word in ("KEY", "TOKEN", "SECRET", "SLACK", "SMTP", "WEBHOOK", "MONGODB_URL"))
    shown = "" if is_secret else f" (found {found!r})"
    return f"{name}: {message}{shown}"
