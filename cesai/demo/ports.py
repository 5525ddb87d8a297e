"""On which ports do the parts of one machine listen?

A port is chosen once, at random, and kept in a file: an address that was handed out (the issuer's stands in every
token) stays good over restarts. It is chosen anew only when somebody else has taken it meanwhile. All lie below the
range from which the kernel serves outgoing connections, or a daemon would now and then find its port in use.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = 32_768
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LISTENING = "0A"  # proc(5): /proc/net/tcp, field st


def is_free(port: int) -> bool:
    """Whether nobody listens there, neither on loopback nor on all addresses."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104  only asked, never listened on
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def is_listening(port: int) -> bool:
    """Whether somebody listens there; asked of the kernel, since a connection that says nothing alarms daemons."""
    wanted = f":{port:04X}"
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for local, _, state in (line.split()[1:4] for line in lines):
            if state == LISTENING and local.endswith(wanted):
                return True
    return False


@dataclass(slots=True)
class Ports:
    """Named ports, kept in a file; safe to ask from several threads."""

    path: Path
    renewed: list[str] = field(default_factory=list)  # names whose kept port was taken by somebody else
    _given: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> int:
        """The port of this name; within one life always the same."""
        with self._lock:
            if name in self._given:
                return self._given[name]
            kept = self._kept()
            port = kept.get(name)
            if port is not None and not is_free(port):
                self.renewed.append(name)
                port = None
            if port is None:
                port = self._choose({*kept.values(), *self._given.values()})
            self._given[name] = port
            self._keep({**kept, name: port})
            return port

    def _kept(self) -> dict[str, int]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def _keep(self, ports: dict[str, int]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(ports, indent=1, sort_keys=True) + "\n")
        os.replace(fresh, self.path)  # noqa: PTH105  atomic, and over what is there

    def _choose(self, taken: set[int]) -> int:
        highest = min(int(RANGE.read_text().split()[0]), EPHEMERAL) if RANGE.exists() else EPHEMERAL
        for _ in range(1_000):
            port = random.randrange(LOWEST, highest)  # noqa: S311  no secret
            if port not in taken and is_free(port):
                return port
        msg = f"no free port between {LOWEST} and {highest}"
        raise OSError(msg)
