"""How does a test run the hub as the process that it is?"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

PATIENCE_S = 60


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what: Callable[[], object], *, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is so."""
    until = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < until, f"waited {patience_s} s in vain"
        time.sleep(0.1)


class Program:
    """A command that runs in the background, with its log."""

    def __init__(self, words: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it; how many seconds that took."""
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - begun

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text()


class Programs:
    """The commands of the hub, in an environment of the test's own."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CESAI_")},
            "CESAI_DATABASE_URL": database_url,
            "CESAI_PUBLIC_URL": self.url,
        }
        self.started: list[Program] = []

    def words(self, *words: str) -> list[str]:
        """A command line of this environment's `cesai`."""
        return [str(Path(sys.executable).parent / "cesai"), *words]

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.words(*words),
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, *words: str, **settings: str) -> Program:
        """Start a command and leave it running."""
        log = self.folder / f"{len(self.started)}-{words[0]}.log"
        program = Program(self.words(*words), log, self.environment | settings)
        self.started.append(program)
        return program

    def serve(self, **settings: str) -> Program:
        """Start the hub and wait until it says that it is well."""
        program = self.start("serve", "--port", str(self.port), **settings)
        wait_for(lambda: self.is_well(program))
        return program

    def is_well(self, program: Program) -> bool:
        """Whether the hub says so."""
        assert program.process.poll() is None, program.said()
        try:
            return httpx.get(f"{self.url}/api/v1/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def programs_in(folder: Path, database_url: str) -> Iterator[Programs]:
    """The hub's commands; all that were started end with the test."""
    made = Programs(folder, database_url)
    try:
        yield made
    finally:
        for program in made.started:
            if program.process.poll() is None:
                program.stop(signal.SIGKILL)


@pytest.fixture
def programs(tmp_path: Path, empty_database_url: str) -> Iterator[Programs]:
    """The hub's commands over a database without tables."""
    with programs_in(tmp_path, empty_database_url) as made:
        yield made
