"""Databases to refuse tampering: SQLite, and PostgreSQL where a server is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PLACES = "/usr/lib/postgresql/*/bin"
_USER = "postgres"


def postgres_program(name: str) -> str | None:
    """Return the path of a program of PostgreSQL's server; distributions keep them out of the PATH."""
    found = sorted(Path("/").glob(f"{_PLACES[1:]}/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def has_postgres() -> bool:
    return all(postgres_program(name) for name in ("initdb", "postgres")) and (_owner() is None or _is_user(_USER))


@contextmanager
def postgres_cluster() -> Iterator[str]:
    """Start a cluster of its own on a free port of this machine and yield its URL; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="mlops_pg_") as folder:
        data = Path(folder) / "data"
        if owner := _owner():
            shutil.chown(folder, owner)
        Path(folder).chmod(0o755)
        initdb = [_program("initdb"), "-D", str(data), "-U", "mlops", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", timeout=120, user=_owner())
        port = _free_port()
        options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
        server = subprocess.Popen(
            [_program("postgres"), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=_owner(),
        )
        try:
            _wait(port, server)
            yield f"postgresql+psycopg://mlops@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(timeout=60)


def _owner() -> str | None:
    """Return whom the server runs as: it refuses to run as root."""
    return _USER if os.geteuid() == 0 else None


def _is_user(name: str) -> bool:
    return any(one.pw_name == name for one in pwd.getpwall())


def _program(name: str) -> str:
    found = postgres_program(name)
    assert found is not None, f"{name} is not installed"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    import psycopg
    from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

    @retry(stop=stop_after_delay(60), wait=wait_fixed(0.2), retry=retry_if_exception_type(psycopg.OperationalError))
    def connect() -> None:
        assert server.poll() is None, "the server ended"
        psycopg.connect(host="127.0.0.1", port=port, user="mlops", dbname="postgres").close()

    connect()
