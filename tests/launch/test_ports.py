"""A taken port is named with who holds it and how to choose another."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from mlops_assets.launch.ports import PortTaken, free_port, holder_of, is_free


def test_a_free_port_is_free_and_a_listening_one_is_not():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free("127.0.0.1", server.getsockname()[1])
    assert is_free("127.0.0.1", free_port())


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_holder_is_this_process():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert str(os.getpid()) in holder_of(port)
        error = PortTaken(port=port, setting="MLOPS_UI_PORT", option="--ui-port")
    assert str(os.getpid()) in str(error)
    assert "--ui-port" in str(error)
    assert "MLOPS_UI_PORT" in str(error)


def test_nobody_holds_a_free_port():
    assert holder_of(free_port()) == ""
