"""Do jobs look and behave over HTTP as their contract says, for each who may and may not?"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from datetime import timedelta

import pytest

from cesai.contract.messages import SyncReply
from cesai.db.session import bind_background
from cesai.federation import service, tasks
from cesai.kernel import crash
from cesai.kernel.crash import CrashPoint
from tests.federation.conftest import Agent, fund, furnish, pool

JOB = {
    "name": "train",
    "project": "legal-llm",
    "script": "#!/bin/sh\ntrue\n",
    "gpus_per_node": 1,
    "gpu_class": "H100",
    "walltime": "1h",
}


class HttpAgent(Agent):
    """An agent as the hub meets it: over HTTP, with its own token."""

    def __init__(self, api, site_id):
        self.acting = api.as_agent(site_id)
        self.wait_seconds = 0
        super().__init__(site_id, self._post, api.app.state.clock)

    def _post(self, told):
        answer = self.acting.post("/agent/v1/sync", json=told, key="")
        assert answer.status_code == 200, answer.text
        return SyncReply.model_validate(answer.json())


@pytest.fixture
def hub(api, clock):
    """The hub with two furnished sites; `hub.agent` speaks for juelich."""
    furnish(api.db, clock.now())
    api.agent = HttpAgent(api, "juelich")
    api.agent.tell_capacity()
    HttpAgent(api, "rwth").tell_capacity(pool("rwth"))
    fund(api.db, clock.now())
    return api


@pytest.fixture
def rita(hub):
    return hub.as_("researcher", "legal-llm", username="rita")


def place(hub, rita, **changes):
    job = rita.post("/api/v1/jobs", json=JOB | changes).json()
    service.run_round(hub.db, hub.now)
    return rita.get(f"/api/v1/jobs/{job['id']}").json()


def test_the_schema_of_a_job_file_is_public(hub):
    answer = hub.anonymous.get("/api/v1/schemas/job")
    assert answer.status_code == 200
    assert answer.json()["title"] == "CESAI job file"


def test_a_member_submits_and_sees_the_job(rita):
    answer = rita.post("/api/v1/jobs", json=JOB)
    assert answer.status_code == 201
    job = answer.json()
    assert (job["state"], job["attempts"], job["gpu_class"]) == ("QUEUED", [], ["H100"])
    assert rita.get(f"/api/v1/jobs/{job['id']}").json() == job
    assert [one["id"] for one in rita.get("/api/v1/jobs?project=legal-llm&state=QUEUED").json()["items"]] == [job["id"]]
    assert rita.get("/api/v1/jobs?site=rwth").json()["items"] == []
    assert rita.get(f"/api/v1/jobs/{job['id']}/why").json()["places"][0]["site_id"] == "juelich"


def test_the_same_key_submits_once(rita):
    first = rita.post("/api/v1/jobs", json=JOB, key="one")
    again = rita.post("/api/v1/jobs", json=JOB, key="one")
    assert first.json() == again.json()
    assert len(rita.get("/api/v1/jobs").json()["items"]) == 1
    assert rita.post("/api/v1/jobs", json=JOB | {"name": "x"}, key="one").status_code == 422


def test_a_refused_job_leaves_nothing_behind(rita):
    answer = rita.post("/api/v1/jobs", json=JOB | {"gpu_class": "H1000"})
    assert answer.status_code == 422
    assert "H100" in answer.json()["detail"]
    assert rita.get("/api/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        ({"walltme": 5}, "walltme", "did you mean walltime"),
        ({"walltime": 0}, "walltime", "between 1 minute"),
        ({"walltime": "400d"}, "walltime", "31 days"),
        ({"gpus_per_node": 0}, "gpus_per_node", "greater"),
        ({"name": "a\nb"}, "name", "letter"),
        ({"name": "a\0b"}, "name", "letter"),
        ({"name": "$(reboot)"}, "name", "letter"),
        ({"array": "0-9"}, "array", "one job per task"),
        ({"launcher": "torchrun"}, "launcher", "not taken yet"),
    ],
)
def test_bad_input_is_a_clear_error_of_its_field(rita, change, field, word):
    answer = rita.post("/api/v1/jobs", json=JOB | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    faults = {fault["field"]: fault["message"] for fault in answer.json()["errors"]}
    assert [name for name in faults if name.endswith(field)]
    assert word in " ".join(faults.values())


def test_who_nobody_knows_is_told_so_before_his_body_is_understood(hub):
    for path in ("/api/v1/jobs", "/api/v1/placement/plan"):
        assert hub.anonymous.post(path, json={}).status_code == 401


def test_a_script_that_is_no_text_is_a_clear_error(rita):
    answer = rita.post("/api/v1/jobs", content=json.dumps(JOB | {"script": "\ud800"}).encode())
    assert answer.status_code == 422


def test_a_body_that_is_no_json_or_too_large_is_a_clear_error(rita):
    assert rita.post("/api/v1/jobs", content=b"{").status_code == 422
    assert rita.post("/api/v1/jobs", content=b"[" * 100_000).status_code == 422
    assert rita.post("/api/v1/jobs", content=b" " * (2 * 1024 * 1024 + 1)).status_code == 413


def test_a_stranger_gets_the_answer_of_a_missing_job_everywhere(hub, rita):
    job = rita.post("/api/v1/jobs", json=JOB).json()
    sven = hub.as_("researcher", "other", username="sven")
    missing = "00000000-0000-7000-8000-000000000000"
    for tail in ("", "/events", "/why", "/logs"):
        there, gone = (sven.get(f"/api/v1/jobs/{one}{tail}") for one in (job["id"], missing))
        assert (there.status_code, there.json()) == (404, gone.json())
    assert sven.post(f"/api/v1/jobs/{job['id']}/cancel").status_code == 404
    assert sven.get("/api/v1/jobs").json()["items"] == []


def test_an_admin_sees_the_jobs_at_his_site_and_reads_no_log(hub, rita):
    job = place(hub, rita)
    admin = hub.as_("site-admin", "juelich")
    assert [one["id"] for one in admin.get("/api/v1/jobs").json()["items"]] == [job["id"]]
    assert admin.get(f"/api/v1/jobs/{job['id']}").status_code == 200
    assert admin.get(f"/api/v1/jobs/{job['id']}/logs").status_code == 403
    assert hub.as_("site-admin", "rwth").get(f"/api/v1/jobs/{job['id']}").status_code == 404


def test_a_job_goes_from_submission_to_its_settled_cost(hub, rita, clock):
    job = place(hub, rita)
    order = hub.agent.sync().orders[0]
    attempt = job["attempts"][0]
    assert (order.attempt_id, attempt["gpu_ms_settled"]) == (attempt["id"], None)
    hub.agent.tell(order.attempt_id, "RUNNING", external_id="7")
    started = clock.now()
    clock.move(timedelta(minutes=2))
    stamps = {"started_at": started.isoformat(), "ended_at": clock.now().isoformat(), "exit_code": 0}
    usage = {
        **hub.agent.usage(None, seconds=120, gpus=1),
        "attempt_id": order.attempt_id,
        "key": "epoch-1/7",
    }
    facts = {"outcome": "SUCCEEDED", "exit_code": 0, "is_usage_complete": True, "scheduler_gpu_ms": 120_000}
    hub.agent.sync(attempts=[hub.agent.report(order.attempt_id, "ENDED", stamps=stamps, **facts)], usage=[usage])
    attempt = rita.get(f"/api/v1/jobs/{job['id']}").json()["attempts"][0]
    used = [attempt[f"gpu_ms_{witness}"] for witness in ("settled", "scheduler", "wrapper")]
    assert used == [120_000, 120_000, 120_000]
    kinds = [event["kind"] for event in rita.get(f"/api/v1/jobs/{job['id']}/events").json()]
    assert kinds == ["submitted", "placed", "running", "running", "ended", "succeeded", "settled"]


def test_a_cancel_with_a_reason_is_a_wish_that_the_agent_hears(hub, rita):
    job = place(hub, rita)
    hub.agent.tell(job["attempts"][0]["id"], "RUNNING")
    answer = rita.post(f"/api/v1/jobs/{job['id']}/cancel", json={"reason": "wrong data"})
    assert answer.status_code == 200
    assert answer.json()["cancel_wished_at"]
    assert hub.agent.sync().orders[0].wish == "cancel"
    assert rita.post(f"/api/v1/jobs/{job['id']}/cancel", json={"reason": "a\0"}).status_code == 422


def test_a_log_is_read_in_parts(hub, rita):
    job = place(hub, rita)
    attempt = job["attempts"][0]["id"]
    hub.agent.tell(attempt, "RUNNING")
    first = rita.get(f"/api/v1/jobs/{job['id']}/logs").json()
    assert first == {"attempt": 1, "offset": 0, "base64": "", "next_offset": 0, "is_end": False}
    hub.agent.sync(logs=[hub.agent.log(attempt, 0, b"loss 3\n", is_end=True)])
    part = rita.get(f"/api/v1/jobs/{job['id']}/logs?offset=2").json()
    assert (base64.b64decode(part["base64"]), part["next_offset"], part["is_end"]) == (b"ss 3\n", 7, True)


# The agent's sync


def test_a_sync_that_is_not_newer_is_stale_and_one_of_a_second_instance_refused(hub):
    hub.agent.sync()
    hub.agent.sequence -= 1
    said = {
        "agent_version": "0.1.0",
        "instance_id": "instance-1",
        "sequence": 1,
        "site_epoch": "e",
        "clock": hub.now.isoformat(),
        "is_reachable": True,
    }
    assert hub.agent.acting.post("/agent/v1/sync", json=said, key="").status_code == 409
    other = hub.agent.acting.post("/agent/v1/sync", json=said | {"instance_id": "i-2", "sequence": 99}, key="")
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")


def test_a_sync_needs_the_agents_own_token(hub, rita):
    for acting in (hub.anonymous, rita):
        assert acting.post("/agent/v1/sync", json={}, key="").status_code == 401


def test_a_sync_that_cannot_be_read_or_is_too_large_is_a_clear_error(hub):
    assert hub.agent.acting.post("/agent/v1/sync", json={"sequence": 0}, key="").status_code == 422
    big = hub.agent.acting.post("/agent/v1/sync", content=b" " * (8 * 1024 * 1024 + 1), key="")
    assert big.status_code == 413


def test_a_waiting_sync_is_answered_as_soon_as_its_orders_change(hub):
    seen = hub.agent.sync().revision
    begun = time.monotonic()
    hub.agent.sync(wait_seconds=2, seen_revision=seen)
    assert time.monotonic() - begun >= 2
    begun = time.monotonic()
    hub.agent.sync(wait_seconds=20, seen_revision=seen - 1)
    assert time.monotonic() - begun < 5


def test_a_sync_that_brings_something_new_is_answered_at_once(hub, rita):
    attempt = place(hub, rita)["attempts"][0]["id"]
    seen = hub.agent.sync().revision
    begun = time.monotonic()
    report = hub.agent.report(attempt, "SUBMITTING")
    hub.agent.sync(attempts=[report], wait_seconds=20, seen_revision=seen)
    assert time.monotonic() - begun < 5


def test_a_hub_that_stops_does_not_let_its_agents_hold_it_up(hub, monkeypatch):
    seen = hub.agent.sync().revision
    monkeypatch.setattr(hub.app.state, "is_stopping", lambda: True)
    begun = time.monotonic()
    hub.agent.sync(wait_seconds=20, seen_revision=seen)
    assert time.monotonic() - begun < 5


# Planning


def test_a_plan_is_the_operators_question_and_has_a_limit(hub, rita):
    question = {"now": 0, "sites": [], "jobs": []}
    assert rita.post("/api/v1/placement/plan", json=question, key="").status_code == 403
    operator = hub.as_("operator")
    assert operator.post("/api/v1/placement/plan", json=question, key="").json() == {"actions": [], "waiting": {}}
    assert operator.post("/api/v1/placement/plan", json=[], key="").status_code == 422
    assert operator.post("/api/v1/placement/plan", content=b" " * (9 * 1024 * 1024), key="").status_code == 413


# Crashing


@pytest.mark.parametrize("point", [point for point in CrashPoint if point.startswith("hub-")])
def test_every_step_of_the_hub_can_be_made_to_crash(hub, rita, clock, monkeypatch, point):
    killed = []
    monkeypatch.setenv("CESAI_CRASH_AT", point)
    monkeypatch.setattr(crash, "_passed", {})
    monkeypatch.setattr(os, "kill", lambda *told: killed.append(told))
    bind_background(hub.db.connection(), clock)
    job = rita.post("/api/v1/jobs", json=JOB).json()
    hub.db.flush()
    tasks.run_round()
    attempt = rita.get(f"/api/v1/jobs/{job['id']}").json()["attempts"][0]["id"]
    hub.agent.tell(attempt, "RUNNING")
    hub.agent.tell(attempt, "ENDED", outcome="SUCCEEDED", is_usage_complete=True)
    assert killed == [(os.getpid(), signal.SIGKILL)]
