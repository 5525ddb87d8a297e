"""How does a test sit down at a shell beside a real hub?

The hub is `cesai serve` with its embedded issuer over a database of its own; people sign in through its login page.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text
from typer.testing import CliRunner

from cesai.client.cli import app
from cesai.demo.cast import PASSWORD, fill_in

CESAI = Path(sys.executable).parent / "cesai"
PEOPLE = {"olga": ("operator",), "frieda": ("funder",), "jonas": (), "anna": (), "robin": ()}


@dataclass(frozen=True)
class Heard:
    """What a command said, and with which number it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """One person's shell."""

    hub: str
    folder: Path
    username: str

    @property
    def environment(self) -> dict[str, str]:
        return {"CESAI_CONFIG_DIR": str(self.folder), "LC_ALL": "C.UTF-8", "TZ": "Europe/Berlin", "CESAI_LANG": "en"}

    def run(self, *words: str, given: str | None = None, **more: str) -> Heard:
        """A command inside this process, for speed."""
        done = CliRunner().invoke(app, words, input=given, env=self.environment | more)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Heard(done.exit_code, done.stdout, done.stderr)

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """A command as a process of its own."""
        return subprocess.Popen(
            [CESAI, *words],
            env=os.environ | self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def does(self, *words: str, **more: Any) -> Heard:
        """A command that must succeed."""
        heard = self.run(*words, **more)
        assert heard.code == 0, heard
        return heard

    def sign_in(self, *words: str) -> Heard:
        """Confirm the code on the login page, as in a browser."""
        with self.start("login", "--no-browser", "--json", "--hub", self.hub, *words) as process:
            shown = json.loads(process.stdout.readline())
            fill_in(shown["verification_uri_complete"], self.username)
            out, err = process.communicate(timeout=60)
        return Heard(process.returncode, out, err)


@pytest.fixture(scope="package")
def own_database(server_url: str) -> Iterator[str]:
    """A database for a hub that commits."""
    name = f"hub_{uuid4().hex}"
    maintenance = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


@pytest.fixture(scope="package")
def hub(own_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub that runs."""
    folder = tmp_path_factory.mktemp("hub")
    address = f"http://127.0.0.1:{free_port()}"
    users = [
        {"username": name, "password": PASSWORD, "name": name.title(), "email": f"{name}@hub.example", "roles": roles}
        for name, roles in PEOPLE.items()
    ]
    file = folder / "users.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"users": users}))
    environment = os.environ | {
        "CESAI_DATABASE_URL": own_database,
        "CESAI_PUBLIC_URL": address,
        "CESAI_ISSUER_USERS_FILE": str(file),
    }
    log = folder / "hub.log"
    with log.open("w") as said:
        line = [CESAI, "serve", "--port", address.rpartition(":")[2]]
        process = subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        wait_for(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="package")
def shells(hub: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shell]:
    """A shell for everybody, signed in."""
    found = {name: Shell(hub, tmp_path_factory.mktemp(name), name) for name in PEOPLE}
    # All at once: a login waits some seconds between its questions.
    with ThreadPoolExecutor() as pool:
        heard = list(pool.map(Shell.sign_in, found.values()))
    assert [each.code for each in heard] == [0] * len(found), heard
    return found


def free_port() -> int:
    """A port that nobody listens at, below the ones that the kernel gives away by itself."""
    for port in range(21_000 + os.getpid() % 5_000, 32_768):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the hub answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{address}/api/v1/health", timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text())
