"""`mlops doctor`: what of this installation is in order, and what to do about the rest."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer

from mlops_assets.cli.installation import services_of
from mlops_assets.cli.render import AsJson, show_rows
from mlops_assets.kernel.errors import PlatformError
from mlops_assets.launch.ports import holder_of, is_free
from mlops_assets.settings import Settings, load_settings
from mlops_assets.storage.mirror.target import MirrorUnavailable

_LEAST_FREE_GIGABYTES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One thing that was looked at; `remedy` is empty where nothing is to be done."""

    what: str
    is_well: bool
    found: str
    remedy: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Look at the installation: settings, stores, ledger, snapshots, mirrors, disk and ports."""
    settings = load_settings()
    findings = [_python(), _home(settings), _disk(settings)]
    examinations: dict[str, Callable[[Settings], str]] = {
        "catalogue": _catalogue,
        "database": lambda each: str(services_of(each).database.engine.url),
        "ledger": _ledger,
        "snapshots": _snapshots,
        "mirrors": _mirrors,
    }
    findings += [_examine(what, settings, look) for what, look in examinations.items()]
    findings += [_port(settings, "UI_PORT", settings.ui_port), _port(settings, "API_PORT", settings.api_port)]
    rows: list[dict[str, object]] = [
        {"what": one.what, "is_well": one.is_well, "found": one.found, "remedy": one.remedy} for one in findings
    ]
    show_rows("Installation", rows, as_json=as_json)
    if not all(one.is_well for one in findings):
        raise typer.Exit(1)


def _examine(what: str, settings: Settings, look: Callable[[Settings], str]) -> Diagnosis:
    try:
        return Diagnosis(what=what, is_well=True, found=look(settings))
    except PlatformError as error:
        return Diagnosis(what=what, is_well=False, found=error.code, remedy=str(error))
    except Exception as error:  # noqa: BLE001 - whatever damage does: the other findings are worth telling
        words = " ".join(f"{type(error).__name__}: {error}".split())
        remedy = f"{words}. What is stored cannot be read: compare with a backup before anything else is done."
        return Diagnosis(what=what, is_well=False, found="unreadable", remedy=remedy)


def _python() -> Diagnosis:
    return Diagnosis(what="python", is_well=True, found=f"{sys.version.split()[0]} at {sys.executable}")


def _home(settings: Settings) -> Diagnosis:
    is_there = settings.home.is_dir()
    remedy = "" if is_there else "Run `python3 -m mlops_assets up`: it prepares everything below it."
    return Diagnosis(what="home", is_well=is_there, found=str(settings.home), remedy=remedy)


def _disk(settings: Settings) -> Diagnosis:
    folder = settings.home if settings.home.is_dir() else settings.home.parent
    free = shutil.disk_usage(folder if folder.is_dir() else ".").free / 1e9
    is_enough = free >= _LEAST_FREE_GIGABYTES
    remedy = "" if is_enough else f"Free {_LEAST_FREE_GIGABYTES:.0f} GB, or set MLOPS_HOME to another disk."
    return Diagnosis(what="disk", is_well=is_enough, found=f"{free:.1f} GB free", remedy=remedy)


def _catalogue(settings: Settings) -> str:
    from mlops_assets.catalog.loader import load_catalogue

    counts = load_catalogue(settings.catalog_path).count()
    return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items())


def _ledger(settings: Settings) -> str:
    found = services_of(settings).ledger.verify()
    if not found.is_intact:
        from mlops_assets.ledger.checkpoints import BrokenChain

        raise BrokenChain(found)
    return f"{found.entries} entries, intact"


def _snapshots(settings: Settings) -> str:
    """Read every file of every head; a damaged one raises."""
    snapshots = services_of(settings).snapshots
    heads = snapshots.heads()
    for head in heads:
        snapshots.read(head)
    return f"{len(heads)} datasets, every file as published"


def _mirrors(settings: Settings) -> str:
    """Tell how far the mirrors are; one that does not take what is due to it raises."""
    standings = services_of(settings).mirrors.standings()
    if failing := [one for one in standings if one.last_error]:
        raise MirrorUnavailable(
            "; ".join(f"{one.target} lags by {one.undelivered} documents: {one.last_error}" for one in failing)
            + ". It is tried again by itself; `mlops mirrors deliver` does so now."
        )
    return ", ".join(f"{one.target} lags by {one.undelivered} of {one.documents}" for one in standings) or "none is on"


def _port(settings: Settings, name: str, port: int) -> Diagnosis:
    is_available = is_free(settings.host, port)
    holder = holder_of(port) or "another program"
    # In use is no fault: most likely the platform itself runs.
    return Diagnosis(
        what=name.lower(), is_well=True, found=f"{port} is {'free' if is_available else f'held by {holder}'}"
    )
