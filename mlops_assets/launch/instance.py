"""Where Dagster keeps its own things: its home folder below ours, with the project's dagster.yaml in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mlops_assets.kernel.errors import PlatformError
from mlops_assets.settings import SOURCE_TREE, Settings

if TYPE_CHECKING:
    import dagster as dg

INSTANCE_FILE = SOURCE_TREE / "dagster.yaml"
WORKSPACE_FILE = SOURCE_TREE / "workspace.yaml"


def prepare_instance(settings: Settings) -> Path:
    """Make Dagster's home and bring its dagster.yaml up to date; return the folder."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    for name in (INSTANCE_FILE, WORKSPACE_FILE):
        copy_when_different(name, home / name.name)
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open Dagster's storage of an installation; what Dagster says of its runs goes to `materialise.log`."""
    import dagster as dg

    home = prepare_instance(settings)
    settings.logs_path.mkdir(parents=True, exist_ok=True)
    with (
        (settings.logs_path / "materialise.log").open("w", encoding="utf-8") as log,
        redirect_stderr(log),
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        yield instance


class AlreadyUp(PlatformError):
    """Another `mlops up` works on the same home."""

    code: ClassVar[str] = "already_up"


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold a home for this process; the system lets go of it however the process ends.

    Raises:
        AlreadyUp: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: the taken ports stop a second one
        yield
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(
                f"The platform of {home} is up already, or is being brought up. Stop that one, or give this one "
                "another MLOPS_HOME."
            ) from None
        yield


def copy_when_different(source: Path, target: Path) -> bool:
    """Copy a file unless the target holds the same bytes; tell whether it was copied."""
    content = source.read_bytes()
    if target.is_file() and target.read_bytes() == content:
        return False
    target.write_bytes(content)
    return True
