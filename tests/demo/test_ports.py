"""Does everything keep its address?"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from cesai.demo.ports import EPHEMERAL, Ports, is_free, is_listening


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ports.json"


def test_a_port_is_kept_over_restarts(path):
    first = Ports(path)
    assert first.of("hub") == first.of("hub") == Ports(path).of("hub")


def test_names_have_different_ports_below_the_ephemeral_range(path):
    ports = Ports(path)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(ports.of, (f"part-{number}" for number in range(64))))
    assert len(set(given)) == 64
    assert max(given) < EPHEMERAL
    assert Ports(path).of("part-7") == ports.of("part-7")


def test_a_port_that_somebody_took_is_chosen_anew_and_said_so(path):
    kept = Ports(path).of("hub")
    with socket.create_server(("127.0.0.1", kept)):
        again = Ports(path)
        assert again.of("hub") != kept
        assert again.renewed == ["hub"]
        assert again.of("hub") == again.of("hub")


def test_who_listens_is_seen_without_a_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(port)
        assert not is_free(port)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert not is_listening(port)
