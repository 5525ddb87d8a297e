"""Does the hub start, stop and refuse as the processes that an operator runs?"""

from __future__ import annotations

import json
import shutil
import signal

import httpx
import pytest
from kombu import Connection
from sqlalchemy import create_engine

from cesai.db import due
from cesai.db.session import unit_of_work
from tests.hub.conftest import Program, free_port, wait_for

pytestmark = pytest.mark.e2e


def people(folder):
    file = folder / "people.json"
    file.write_text(
        json.dumps(
            {"users": [{"username": "olga", "password": "p", "name": "O", "email": "o@x", "roles": ["operator"]}]}
        )
    )
    file.chmod(0o600)
    return str(file)


def test_one_command_serves_api_background_and_logins_and_ends_at_once(programs):
    hub = programs.serve(CESAI_ISSUER_USERS_FILE=people(programs.folder))
    issuer = f"{programs.url}/realms/cesai"
    assert httpx.get(f"{issuer}/.well-known/openid-configuration").json()["issuer"] == issuer
    page = httpx.get(f"{issuer}/device")
    assert "text/html" in page.headers["content-type"]
    assert httpx.get(f"{programs.url}/api/v1/me").status_code == 401
    assert hub.stop() < 3
    assert hub.process.returncode in {0, -signal.SIGTERM}


def test_a_killed_hub_comes_back_with_its_keys(programs):
    hub = programs.serve()
    certs = f"{programs.url}/realms/cesai/protocol/openid-connect/certs"
    before = httpx.get(certs).json()
    hub.stop(signal.SIGKILL)
    programs.serve()
    assert httpx.get(certs).json() == before


def test_a_second_hub_with_the_embedded_broker_is_refused(programs):
    programs.serve()
    second = programs.run("serve", "--port", str(free_port()))
    assert second.returncode == 2
    assert "CESAI_BROKER_URL" in second.stderr


@pytest.fixture
def redis(tmp_path):
    """The address of a real Redis."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server is installed")
    port = free_port()
    words = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    program = Program(words, tmp_path / "redis.log", {})
    wait_for(lambda: "Ready to accept" in program.said())
    yield f"redis://127.0.0.1:{port}/0"
    program.stop()


def test_worker_and_beat_of_their_own_survive_a_wiped_broker_and_a_killed_beat(programs, redis):
    settings = {"CESAI_BROKER_URL": redis}
    assert programs.run("db", "upgrade").returncode == 0
    parts = [programs.start("worker", **settings), programs.start("beat", **settings)]
    programs.serve(**settings)
    engine = create_engine(programs.environment["CESAI_DATABASE_URL"])

    def seen():
        with unit_of_work(engine) as db:
            return due.last_beat(db, "worker")

    with Connection(redis) as broker:
        broker.default_channel.client.flushall()
    before = seen()
    wait_for(lambda: seen() > before)
    standby = programs.start("beat", **settings)
    parts[1].stop(signal.SIGKILL)
    before = seen()
    wait_for(lambda: seen() > before)
    for part in (parts[0], standby):
        assert part.stop() < 5, part.said()
    engine.dispose()
