"""Which port can be used: free ones, and who holds one that is not."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import ClassVar

from mlops_assets.kernel.errors import PlatformError

_LISTENING = "0A"


class PortTaken(PlatformError):
    """A port the platform needs is in use."""

    code: ClassVar[str] = "port_taken"

    def __init__(self, *, port: int, setting: str, option: str) -> None:
        self.port = port
        holder = holder_of(port)
        by = f" by {holder}" if holder else ""
        super().__init__(
            f"Port {port} is in use{by}. Stop that program, or choose another port with {option} or {setting}; "
            f"{free_port()} is free."
        )


def is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def holder_of(port: int, proc: Path = Path("/proc")) -> str:
    """Return `name (process 123)` of who listens on a port, or an empty string where the system does not tell."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port, proc)}
    if not wanted:
        return ""
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            if any(_target(link) in wanted for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return ""


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def _listening_inodes(port: int, proc: Path) -> set[str]:
    """Read the kernel's table of sockets: local address, state and inode are its 2nd, 4th and 10th columns."""
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        table = proc / "net" / name
        if not table.is_file():
            continue
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTENING and int(columns[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(columns[9])
    return inodes
