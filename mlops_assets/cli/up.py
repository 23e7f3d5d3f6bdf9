"""`mlops up`: prepares the stores, materialises what is stale, starts the services and keeps them running."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.console import Console

from mlops_assets.cli.progress import Reporter
from mlops_assets.cli.render import AsJson, print_json
from mlops_assets.kernel.words import Words
from mlops_assets.launch.children import Children
from mlops_assets.launch.dagster_ui import DagsterUi
from mlops_assets.launch.instance import only_one, open_instance
from mlops_assets.launch.platform import (
    NotReady,
    api_url,
    ignore_interrupts,
    interruptible,
    platform_services,
    readiness_questions,
    stay_until_stopped,
    ui_url,
    wait_until_ready,
)
from mlops_assets.launch.ports import PortTaken, free_port, is_free
from mlops_assets.launch.probe import Finding, newest_report, probe_api, probe_ui
from mlops_assets.settings import Settings, load_settings, process_environment

if TYPE_CHECKING:
    from mlops_assets.orchestration.refresh import Refresh
    from mlops_assets.services import ServiceFactory

_ANSWER_TIMEOUT_SECONDS = 60.0
_INTERRUPTED = "DagsterExecutionInterruptedError"

Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Listen there instead of where the settings say.")]


@dataclass(slots=True)
class Outcome:
    """What `up` did, for `--json`."""

    home: str
    made: list[str] = field(default_factory=list[str])
    untouched: int = 0
    failures: dict[str, str] = field(default_factory=dict[str, str])
    waiting: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def is_right(self) -> bool:
        return not self.failures and all(finding.is_right for finding in self.findings)


def up(
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask UI and API whether all is as it should be, then stop.")
    ] = False,
    serve: Annotated[bool, typer.Option(help="Start the UI, the daemon and the API after materialising.")] = True,
    ui_port: Port = None,
    api_port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Prepare the stores, materialise what is stale, start the services and say where to look."""
    started = time.monotonic()
    settings = _settings(ui_port, api_port, any_port=probe)
    console = Console(file=sys.stderr if as_json else sys.stdout)
    words = Words(settings.locale)
    with interruptible(), only_one(settings.home):
        if serve or probe:
            _require_ports(settings)
        console.print(words.say("preparing", path=settings.home))
        services = _prepared(settings, console)
        outcome, expected = _materialise(services, Reporter(console, words))
        if serve or probe:  # what failed is best looked at in the UI
            _serve(services, console, words, outcome, expected if probe else None)
    outcome.seconds = round(time.monotonic() - started, 1)
    if as_json:
        print_json({**_as_record(outcome), "is_right": outcome.is_right})
    if not outcome.is_right:
        print(words.say("remedy_log", path=settings.logs_path), file=sys.stderr)  # noqa: T201
        print(words.say("remedy_again"), file=sys.stderr)  # noqa: T201
        raise typer.Exit(1)


def _settings(ui_port: int | None, api_port: int | None, *, any_port: bool) -> Settings:
    chosen = {"ui_port": ui_port, "api_port": api_port}
    if any_port:
        chosen = {name: port or free_port() for name, port in chosen.items()}
    return load_settings(**{name: port for name, port in chosen.items() if port is not None})


def _require_ports(settings: Settings) -> None:
    for name in ("ui_port", "api_port"):
        port = getattr(settings, name)
        if not is_free(settings.host, port):
            raise PortTaken(port=port, setting=f"MLOPS_{name.upper()}", option=f"--{name.replace('_', '-')}")


def _prepared(settings: Settings, console: Console) -> ServiceFactory:
    """Make or migrate the stores, and bring the directory to the principals file, if there is one."""
    from mlops_assets.services import ServiceFactory

    services = ServiceFactory(settings)
    services.prepare()
    if (file := settings.principals_file) is not None and services.directory.differences(file):
        for step in services.directory.apply(file, by=services.acting("principal.manage")):
            console.print(step.words, markup=False, highlight=False)
    return services


def _materialise(services: ServiceFactory, reporter: Reporter) -> tuple[Outcome, dict[str, bool]]:
    """Bring the graph up to date as who runs this command; return what happened and which assets have to be there."""
    from mlops_assets.graph import build_defs
    from mlops_assets.orchestration.declared import key
    from mlops_assets.orchestration.refresh import materialise_stale
    from mlops_assets.orchestration.staleness import is_by_hand

    settings, launcher = services.settings, services.acting("run.launch")
    definitions = build_defs(services)
    with open_instance(settings) as instance, reporter:
        changed = [key(dataset) for dataset in services.views_not_as_active()]
        changed += [key(dataset) for dataset in services.models_of_another_source()]
        changed += [] if services.bars_are_current() else [key("market/bars")]
        refresh = materialise_stale(
            definitions,
            instance,
            reporter.hear,
            changed=changed,
            tags_of=lambda run_id: services.run_identity.tags(launcher, run_id),
        )
    if any(_INTERRUPTED in reason for reason in refresh.failures.values()):
        raise KeyboardInterrupt  # Dagster turns the first one into the failure of a step
    services.warehouse.rebuild()  # everything that was published, in plain SQL
    graph = definitions.resolve_asset_graph()
    expected = {"/".join(one.path): not is_by_hand(graph.get(one)) for one in graph.get_all_asset_keys()}
    reporter.conclude(refresh)
    return _outcome(settings, refresh), expected


def _outcome(settings: Settings, refresh: Refresh) -> Outcome:
    return Outcome(
        home=str(settings.home),
        made=[str(target) for target in refresh.made],
        untouched=refresh.untouched,
        failures=dict(refresh.failures),
        waiting=[str(target) for target in refresh.waiting],
    )


def _serve(
    services: ServiceFactory,
    console: Console,
    words: Words,
    outcome: Outcome,
    expected_assets: Mapping[str, bool] | None,
) -> None:
    """Run the services until interrupted, or only until they were probed."""
    settings = services.settings
    with Children(process_environment(settings), settings.home) as children, _clients(services) as (ui, api):
        try:
            for service in platform_services(settings):
                console.print(words.say("starting", service=service.name))
                children.start(service)
            started = time.monotonic()
            wait_until_ready(
                children,
                readiness_questions(ui, api),
                lambda name: console.print(
                    words.say("answers", service=name, seconds=f"{time.monotonic() - started:.1f}")
                ),
            )
            if expected_assets is None:
                _say_where_to_look(settings, api, console, words)
                stay_until_stopped(children)
            else:
                outcome.findings = _probe(ui, api, expected_assets)
                for one in outcome.findings:
                    key = "finding_right" if one.is_right else "finding_wrong"
                    console.print(words.say(key, what=one.what, found=one.found), markup=False, highlight=False)
        except KeyboardInterrupt:
            console.print(words.say("stopping"))
        finally:
            ignore_interrupts()


def _probe(ui: DagsterUi, api: httpx.Client, expected_assets: Mapping[str, bool]) -> list[Finding]:
    try:
        return [*probe_ui(ui, expected_assets), *probe_api(api)]
    except (httpx.HTTPError, ValueError) as error:
        raise NotReady(f"A service stopped answering while it was probed: {type(error).__name__}: {error}") from error


@contextmanager
def _clients(services: ServiceFactory) -> Iterator[tuple[DagsterUi, httpx.Client]]:
    settings = services.settings
    bearer = {"Authorization": f"Bearer {services.operator_bearer}"}
    # trust_env off: a proxy of the environment has no business on loopback.
    with (
        httpx.Client(timeout=_ANSWER_TIMEOUT_SECONDS, trust_env=False) as plain,
        httpx.Client(
            base_url=api_url(settings), headers=bearer, timeout=_ANSWER_TIMEOUT_SECONDS, trust_env=False
        ) as api,
    ):
        yield DagsterUi(ui_url(settings), plain), api


def _say_where_to_look(settings: Settings, api: httpx.Client, console: Console, words: Words) -> None:
    places: dict[str, dict[str, object]] = {
        "ready_dagster": {"url": ui_url(settings)},
        "ready_rest": {"url": api_url(settings)},
        "ready_docs": {"url": f"{api_url(settings)}/docs"},
        "ready_token": {"path": settings.api_token_path},
    }
    if page := newest_report(api):
        places["ready_report"] = {"path": f"{api_url(settings)}{page}"}
    console.print(f"\n{words.say('ready')}")
    for key, values in places.items():
        console.print(f"  {words.say(key, **values)}", soft_wrap=True)
    console.print(words.say("ready_stop"))


def _as_record(outcome: Outcome) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}
