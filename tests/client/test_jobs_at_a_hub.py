"""Does a job go from its file to its end, and does its exit code tell how it ended?"""

import json
import signal

import pytest

from cesai.kernel.clock import SystemClock
from cesai.kernel.periods import Period
from tests.client.standin import StandIn

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def anna(shells):
    """The lead of a project with compute at a site that runs its jobs."""
    olga, jonas, anna = shells["olga"], shells["jonas"], shells["anna"]
    now = Period.of(SystemClock().now())
    olga.run("class", "add", "H100", "--name", "NVIDIA H100", "--memory-gb", "80")
    olga.does("site", "register", "works", "--name", "Works")
    olga.does("member", "grant", "jonas", "site-admin", "--scope", "works")
    olga.does("project", "create", "jobs", "--title", "Jobs", "--organisation", "FZJ")
    olga.does("project", "add-member", "jobs", "anna", "--role", "pi")
    jonas.does("site", "accept", "works", "jobs", "--account", "jobs")
    token = jonas.does("site", "enrol", "works", "--json").json["token"]
    with StandIn(olga.hub, token):
        assert "proposed" in jonas.does("site", "inventory", "works").out
        jonas.does("site", "map", "works", "jw/gpu/h100=H100")
        for period in (now, now.next()):
            jonas.does("pledge", "make", "works", "H100", str(period), "20")
        lines = [f"works:H100:{period}:10" for period in (now, now.next())]
        olga.does("award", "make", "jobs", *lines, "--reason", "test")
        yield anna


def job(script, **changes):
    """A job file with this script, as standard input takes it."""
    plain = {"name": "t", "project": "jobs", "gpus_per_node": 1, "gpu_class": "H100", "walltime": "5m"}
    return json.dumps(plain | {"script": script} | changes)


def test_a_job_that_succeeds_ends_with_0_and_its_way_is_told(anna):
    heard = anna.run("job", "submit", "-", "--wait", given=job("say hello\nexit 0\n"))
    assert heard.code == 0, heard
    job_id = heard.out.strip()
    assert len(job_id) == 36
    assert "succeeded" in heard.err
    shown = anna.does("job", "show", job_id[-8:]).out
    assert "works" in shown
    assert "GPU-h" in shown
    assert job_id[-8:] in anna.does("job", "list", "--project", "jobs").out
    assert anna.does("job", "logs", job_id).out == "hello\n"
    assert anna.does("job", "events", job_id, "--json").json
    assert "SUCCEEDED" in anna.does("job", "why", job_id).out


def test_a_job_that_fails_ends_with_1_and_says_why(anna):
    heard = anna.run("job", "submit", "-", "--wait", "--json", given=job("exit 3\n"))
    assert heard.code == 1
    assert heard.json["attempts"][-1]["exit_code"] == 3
    assert anna.run("job", "show", heard.json["id"], "--wait").code == 1


def test_a_job_that_is_cancelled_ends_with_7(anna):
    job_id = anna.does("job", "submit", "-", given=job("say first\nwait\n")).out.strip()
    with anna.start("job", "show", job_id, "--wait") as watching:
        anna.does("job", "cancel", job_id, "--reason", "wrong data", "--wait")
        _, said = watching.communicate(timeout=60)
    assert watching.returncode == 7
    assert "cancelled" in said
    assert anna.does("job", "list", "--state", "cancelled", "--json").json[0]["id"] == job_id


def test_a_log_is_followed_to_its_end(anna):
    heard = anna.run("job", "submit", "-", "--follow", given=job("say one\nsay two\nexit 0\n"))
    assert heard.code == 0, heard
    assert heard.out.splitlines()[1:] == ["one", "two"]


def test_ctrl_c_stops_the_watching_and_not_the_job(anna):
    job_id = anna.does("job", "submit", "-", given=job("wait\n")).out.strip()
    with anna.start("job", "show", job_id, "--wait") as watching:
        watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert "goes on" in said
    assert "Traceback" not in said
    assert anna.does("job", "show", job_id, "--json").json["state"] not in {"CANCELLED", "FAILED"}
    anna.does("job", "cancel", job_id, "--wait")


def test_a_job_goes_on_from_an_earlier_one(anna, tmp_path):
    file = tmp_path / "job.json"
    file.write_text(job("exit 0\n"))
    first = anna.run("job", "submit", str(file), "--wait").out.strip()
    second = anna.does("job", "submit", str(file), "--resume", first[-10:], "--json").json
    assert second["resume"] == first


def test_the_same_key_submits_once(anna):
    ids = {anna.does("job", "submit", "-", "--key", "nightly", given=job("exit 0\n")).out for _ in range(2)}
    assert len(ids) == 1
    assert anna.run("job", "submit", "-", "--key", "nightly", given=job("exit 1\n")).code == 3


@pytest.mark.parametrize(
    ("changes", "number", "said"),
    [
        ({"gpus": 1}, 2, "gpus"),
        ({"walltime": 0}, 2, "between 1 minute"),
        ({"walltime": "400d"}, 2, "between 1 minute"),
        ({"name": "a\nb"}, 2, "name"),
        ({"gpu_class": "X999"}, 3, "X999"),
        ({"gpus_per_node": 64, "nodes": 100}, 3, ""),
        ({"walltime": "30d"}, 3, ""),
        ({"project": "nobodys"}, 3, "nobodys"),
        ({"resume": "019aa0f0-0000-7000-8000-000000000001"}, 3, "to resume"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_leaves_nothing(anna, changes, number, said):
    before = anna.does("job", "list", "--all", "--json").json
    heard = anna.run("job", "submit", "-", given=job("exit 0\n", **changes))
    assert heard.code == number, heard
    assert said in heard.err
    assert heard.err.strip()
    assert len(anna.does("job", "list", "--all", "--json").json) == len(before)


def test_a_stranger_sees_no_job_of_others(anna, shells):
    job_id = anna.does("job", "submit", "-", given=job("exit 0\n")).out.strip()
    robin = shells["robin"]
    for words in (["show", job_id], ["logs", job_id], ["cancel", job_id], ["why", job_id], ["show", job_id[-8:]]):
        assert robin.run("job", *words).code == 4
    assert robin.does("job", "list", "--json").json == []


def test_the_books_hold_after_all_this(anna, shells):
    frieda = shells["frieda"]
    assert frieda.does("ledger", "verify", "--json").json["invariants_hold"] is True
    assert anna.does("balance", "jobs", "--json").json[0]["awarded_gpu_ms"] == 36_000_000
    assert "GPU-h" in anna.does("balance", "jobs", "--lang", "de").out
    assert frieda.does("ledger", "entries", "--all", "--json").json
