"""Services end together, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlops_assets.launch.children import Children, Service, ServiceStopped
from mlops_assets.launch.orphans import is_alive

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups are POSIX")

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
WITH_A_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FOREVER!r}])"
PARENT = """
import sys, time
from pathlib import Path
from mlops_assets.launch.children import Children, Service
folder = Path(sys.argv[1])
children = Children({"PATH": "/usr/bin:/bin"}, folder).__enter__()
children.start(Service(name="one", command=[sys.executable, "-c", sys.argv[2]], log=folder / "one.log"))
print(children.process_groups()[0], flush=True)
time.sleep(600)
"""


def service(folder: Path, code: str, name: str = "one") -> Service:
    return Service(name=name, command=[sys.executable, "-c", code], log=folder / f"{name}.log")


def wait_until(is_so, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_so()


def test_leaving_stops_every_service_and_its_own_children(tmp_path: Path):
    with Children(dict(os.environ), tmp_path) as children:
        children.start(service(tmp_path, WITH_A_CHILD))
        children.start(service(tmp_path, FOREVER, "two"))
        groups = children.process_groups()
        assert wait_until(lambda: (tmp_path / "one.log").read_text() == "up\n")
        children.check()
    assert [group for group in groups if is_alive(group)] == []


def test_a_service_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path):
    with Children(dict(os.environ), tmp_path) as children:
        children.start(service(tmp_path, "import sys; sys.exit('no such database')"))
        children.start(service(tmp_path, FOREVER, "two"))
        with pytest.raises(ServiceStopped, match=r"(?s)one stopped by itself with exit code 1.*no such database"):
            while True:
                children.check()
                time.sleep(0.05)


def test_a_service_that_ignores_the_request_to_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlops_assets.launch.orphans.GRACE_SECONDS", 0.5)
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}"
    with Children(dict(os.environ), tmp_path) as children:
        children.start(service(tmp_path, stubborn))
        (group,) = children.process_groups()
        assert wait_until(lambda: (tmp_path / "one.log").read_text() == "up\n")
    assert not is_alive(group)


def test_services_end_when_their_parent_is_killed(tmp_path: Path):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), FOREVER], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert is_alive(group)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: not is_alive(group))
