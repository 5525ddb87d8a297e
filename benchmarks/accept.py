"""How many jobs per second does the hub accept through POST /jobs, against the same transaction in plain SQL?

`python benchmarks/accept.py --jobs 500` starts PostgreSQL (unless CESAI_DATABASE_URL names a server, on which it then
makes a database of its own), `cesai serve` with its worker, beat and issuer, and one site whose agent has told eight
GPUs. It sends jobs from several threads, then sends the very statements of one such request, as the hub itself made
them, with new ids from as many threads by psycopg, and prints both rates, their ratio and the latencies as JSON.
"""
# ruff: noqa: INP001  a script of its own, in no package

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine, event, make_url, text

from cesai.contract.messages import CapacitySnapshot, PoolReport, SyncRequest
from cesai.demo import accounts, postgres, runtime
from cesai.demo.ports import Ports
from cesai.demo.processes import Command, Keeper
from cesai.hub.app import create_app
from cesai.hub.settings import Settings
from cesai.kernel.periods import Period

CLIENT, SECRET = "benchmark", secrets.token_hex(16)
JOB = {"name": "nothing", "project": "bench", "entrypoint": "true", "gpus_per_node": 1, "gpu_class": "H100"}
JOB |= {"walltime": 1}
ROUNDS = 2  # each way, in turns: what else the machine does meets both
ENTRY = {"cluster": "c", "partition": "gpu", "gres_type": "h100", "gpu_class": "H100"}


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=500, help="how many each way")
    parser.add_argument("--threads", type=int, default=8)
    wish = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cesai-accept-", dir="/var/tmp")))
        folder.chmod(0o755)
        keeper = Keeper(folder / "logs")
        stack.callback(keeper.stop_all)
        hub = Hub(stack.enter_context(database(keeper, folder)), folder, keeper)
        hub.start()
        hub.found()
        recorded = hub.record()
        ways = {"hub": Figures(), "sql": Figures()}
        for _ in range(ROUNDS):
            ways["hub"].add(hub.accept, jobs=wish.jobs // ROUNDS, threads=wish.threads)
            ways["sql"].add(recorded.replay, jobs=wish.jobs // ROUNDS, threads=wish.threads)
        told = {f"{way}_{name}": value for way, figures in ways.items() for name, value in figures.told().items()}
        told |= {"ratio": ways["hub"].per_second / ways["sql"].per_second, "threads": wish.threads}
        told["statements"] = len(recorded.statements)
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in told.items()}, indent=2) + "\n")


@dataclass
class Figures:
    """What was measured of one way."""

    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, once: Callable[[], None], *, jobs: int, threads: int) -> None:
        """Do it so many times from so many threads."""

        def timed(_: int) -> float:
            began = time.perf_counter()
            once()
            return (time.perf_counter() - began) * 1000

        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            self.latencies_ms += pool.map(timed, range(jobs))
            self.seconds += time.perf_counter() - began

    @property
    def per_second(self) -> float:
        """The rate."""
        return len(self.latencies_ms) / self.seconds

    def told(self) -> dict[str, float]:
        """For people."""
        cuts = statistics.quantiles(self.latencies_ms, n=100, method="inclusive")
        return {"jobs_per_s": self.per_second, "p50_ms": cuts[49], "p99_ms": cuts[98]}


@contextmanager
def database(keeper: Keeper, folder: Path) -> Iterator[str]:
    """A database of this run's own."""
    if given := os.environ.get("CESAI_DATABASE_URL"):
        name = f"accept_{uuid4().hex}"
        maintenance = create_engine(given, isolation_level="AUTOCOMMIT")
        with maintenance.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield make_url(given).set(database=name).render_as_string(hide_password=False)
        finally:
            with maintenance.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            maintenance.dispose()
        return
    place = runtime.prepare()
    home = place.account.folder(Path(tempfile.mkdtemp(dir=folder)))
    try:
        yield postgres.start(keeper, place, home)
    finally:
        postgres.stop(keeper, home)
        shutil.rmtree(home, ignore_errors=True)


class Hub:
    """`cesai serve` as a process of its own, and a client that may do everything there."""

    def __init__(self, database_url: str, folder: Path, keeper: Keeper) -> None:
        self._port = Ports(folder / "ports.json").of("hub")
        self.url = f"http://127.0.0.1:{self._port}"
        self._database_url = database_url
        self._folder = folder
        self._keeper = keeper
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60)

    def start(self) -> None:
        """Until it answers; then sign in."""
        groups = ("/projects/bench/members", "/sites/bench/admins")
        client = {"client_id": CLIENT, "secret": SECRET, "has_service": True, "roles": ("operator",), "groups": groups}
        users = self._folder / "users.json"
        users.touch(mode=0o600)
        users.write_text(json.dumps({"clients": [client]}))
        self._environment = {
            "CESAI_DATABASE_URL": self._database_url,
            "CESAI_PUBLIC_URL": self.url,
            "CESAI_ISSUER_USERS_FILE": str(users),
        }
        program = Path(sys.prefix) / "bin" / "cesai"
        line: list[str | Path] = [program, "serve", "--port", str(self._port), "--migrate"]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **self._environment}
        self._keeper.start("hub", Command(line, environment, accounts.current(), self._folder, self._answers))
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET}
        token = httpx.post(f"{self.url}/realms/cesai/protocol/openid-connect/token", data=form).raise_for_status()
        self._client.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def found(self) -> None:
        """A site with eight GPUs, a project, an award."""
        period = str(Period.of(datetime.now(UTC)))
        self._post("/gpu-classes", {"id": "H100", "name": "NVIDIA H100", "memory_gb": 80})
        self._post("/sites", {"id": "bench", "name": "Bench", "kind": "slurm", "country": "DE"})
        self._post("/projects", {"id": "bench", "title": "Bench", "organisation": "Bench"})
        self._hear_of_gpus(self._post("/sites/bench/enrolments", None)["token"])
        self._client.put("/sites/bench/mapping", json={"entries": [ENTRY]}).raise_for_status()
        self._client.put("/sites/bench/projects/bench", json={"account": "bench"}).raise_for_status()
        line = {"gpu_class": "H100", "period": period, "gpu_hours": 10}
        self._post("/sites/bench/pledges", line)
        self._post("/projects/bench/awards", {"lines": [line | {"site_id": "bench"}]})

    def accept(self) -> None:
        """Submit one job."""
        self._post("/jobs", JOB)

    def record(self) -> Recorded:
        """The statements of one submission, as this version of the hub makes them."""
        os.environ.update(self._environment)
        engine = create_engine(self._database_url)
        recorded = Recorded(self._database_url)
        event.listen(engine, "before_cursor_execute", recorded.take)
        key = uuid4().hex
        headers = dict(self._client.headers) | {"Idempotency-Key": key}
        client = TestClient(create_app(Settings(), engine=engine))
        client.post("/api/v1/jobs", json=JOB, headers=headers)  # what is done once only, like fetching keys
        recorded.statements.clear()
        headers["Idempotency-Key"] = recorded.key = uuid4().hex
        recorded.job_id = UUID(client.post("/api/v1/jobs", json=JOB, headers=headers).raise_for_status().json()["id"])
        engine.dispose()
        return recorded

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/v1/health", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def _post(self, path: str, body: object) -> Any:  # noqa: ANN401  JSON
        answer = self._client.post(path, json=body, headers={"Idempotency-Key": uuid4().hex})
        if not answer.is_success:
            sys.exit(f"{path}: {answer.text}")
        return answer.json()

    def _hear_of_gpus(self, token: str) -> None:
        key = ECKey.generate_key("P-256")
        first = {"token": token, "instance_id": "i", "agent_version": "0", "public_key": key.as_dict(private=False)}
        agent = httpx.post(f"{self.url}/agent/v1/enrol", json=first).raise_for_status().json()
        at = int(time.time())
        claims = {"iss": agent["agent_id"], "aud": agent["audience"], "iat": at, "exp": at + 60, "jti": uuid4().hex}
        signed = jwt.encode({"alg": "ES256", "kid": agent["agent_id"]}, claims, key)
        headers = {"Authorization": f"Bearer {signed}", "Content-Type": "application/json"}
        said = httpx.post(f"{self.url}/agent/v1/sync", content=_eight_gpus().model_dump_json(), headers=headers)
        said.raise_for_status()


class Recorded:
    """The statements of one request, to be sent again with new ids."""

    def __init__(self, database_url: str) -> None:
        self._url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self.statements: list[tuple[str, Any]] = []
        self.key = ""
        self.job_id = UUID(int=0)
        self._kept = threading.local()  # a connection of each thread's own

    def take(self, _connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:  # noqa: ANN401  the driver's own
        """Hear one statement."""
        self.statements.append((statement, parameters))

    def replay(self) -> None:
        """The whole transaction once more, committed."""
        job_id = uuid4()
        fresh = {self.key: uuid4().hex, self.job_id: job_id, str(self.job_id): str(job_id)}
        connection = self._connection()
        with connection.transaction():
            for statement, parameters in self.statements:
                renewed = {name: _renewed(name, value, fresh) for name, value in parameters.items()}
                connection.execute(statement, renewed)

    def _connection(self) -> psycopg.Connection[Any]:
        if not hasattr(self._kept, "connection"):
            self._kept.connection = psycopg.connect(self._url, autocommit=True)
        connection: psycopg.Connection[Any] = self._kept.connection
        return connection


def _renewed(name: str, value: Any, fresh: dict[Any, Any]) -> Any:  # noqa: ANN401  whatever a statement takes
    if name.startswith("pg_try_advisory"):
        return random.getrandbits(63)
    if isinstance(value, Jsonb):
        told = json.dumps(value.obj)
        for old, new in fresh.items():
            told = told.replace(str(old), str(new))
        return Jsonb(json.loads(told))
    return fresh.get(value, value) if isinstance(value, str | UUID) else value


def _eight_gpus() -> SyncRequest:
    pool = PoolReport(
        cluster="c",
        partition="gpu",
        gres_type="h100",
        nodes=2,
        nodes_up=2,
        gpus_per_node=4,
        gpus=8,
        gpus_up=8,
        gpus_free=8,
        max_walltime_minutes=1440,
    )
    now = datetime.now(UTC)
    capacity = CapacitySnapshot(taken_at=now, kind="slurm", backend="cli", scheduler_version="22.05.8", pools=(pool,))
    return SyncRequest(
        agent_version="0",
        instance_id="i",
        sequence=1,
        site_epoch="e",
        clock=now,
        is_reachable=True,
        capacity=capacity,
    )


if __name__ == "__main__":
    main()
