"""Can people pledge, award and read the ledger over HTTP, and only those who may?"""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from cesai.allocations import service
from cesai.allocations.rules import Usage
from cesai.contract.messages import CapacitySnapshot, PoolReport, SyncRequest
from cesai.kernel.amounts import GpuMilliseconds
from cesai.kernel.periods import Period
from cesai.sites import service as sites

PLEDGES = "/api/v1/sites/juelich/pledges"
AWARDS = "/api/v1/projects/legal-llm/awards"
BALANCE = "/api/v1/projects/legal-llm/balance"
PLEDGE = {"gpu_class": "H100", "period": "2026-Q4", "gpu_hours": 1000}
LINE = {"site_id": "juelich", "gpu_class": "H100", "period": "2026-Q4", "gpu_hours": "200.5"}


@pytest.fixture
def juelich(api, now):
    """A site with eight H100 and a project."""
    operator = api.as_("operator")
    for path, body in (
        ("gpu-classes", {"id": "H100", "name": "NVIDIA H100", "memory_gb": 80}),
        ("sites", {"id": "juelich", "name": "Jülich", "kind": "slurm", "country": "DE"}),
        ("projects", {"id": "legal-llm", "title": "A model for law", "organisation": "Uni Bonn"}),
    ):
        assert operator.post(f"/api/v1/{path}", json=body).status_code == 201
    sites.record_contact(api.db, "juelich", request=_hello(now), now=now)
    entry = {"cluster": "jsc", "partition": "gpu", "gres_type": "h100", "gpu_class": "H100"}
    assert operator.put("/api/v1/sites/juelich/mapping", json={"entries": [entry]}).status_code == 200


def _hello(now) -> SyncRequest:
    pool = PoolReport(
        cluster="jsc",
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
    capacity = CapacitySnapshot(
        taken_at=now, kind="slurm", backend="cli", scheduler_version="22.05.8", pools=(pool,), running=(), queued=()
    )
    return SyncRequest(
        agent_version="0.1.0",
        instance_id="i",
        sequence=1,
        site_epoch="e",
        clock=now,
        is_reachable=True,
        capacity=capacity,
    )


@pytest.fixture
def award(api, juelich):  # noqa: ARG001  the site must be there
    """Two hundred and a half GPU-hours of a thousand pledged."""
    assert api.as_("site-admin", "juelich").post(PLEDGES, json=PLEDGE).status_code == 201
    answer = api.as_("operator").post(AWARDS, json={"lines": [LINE], "reason": "call 1"})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.usefixtures("juelich")
def test_a_site_admin_pledges_and_everybody_signed_in_sees_it(api):
    told = api.as_("site-admin", "juelich").post(PLEDGES, json=PLEDGE)
    assert told.status_code == 201
    assert told.json()["gpu_ms"] == 1000 * 3_600_000
    assert api.as_person("nobody").get(PLEDGES).json() == {"items": [told.json()], "next_cursor": None}
    assert api.as_("site-admin", "rwth").post(PLEDGES, json=PLEDGE).status_code == 403


@pytest.mark.usefixtures("juelich")
def test_a_pledge_above_what_the_site_can_give_is_refused_with_the_numbers(api):
    refused = api.as_("site-admin", "juelich").post(PLEDGES, json=PLEDGE | {"gpu_hours": 1_000_000})
    assert refused.status_code == 422
    for part in ("1,000,000.00 GPU-hours", "8 GPUs", "95 %"):
        assert part in refused.json()["detail"]
    assert api.as_("operator").get("/api/v1/ledger/balances").json()["items"] == []


@pytest.mark.usefixtures("juelich")
def test_the_same_pledge_sent_twice_with_one_key_counts_once(api):
    admin = api.as_("site-admin", "juelich")
    first, second = (admin.post(PLEDGES, json=PLEDGE, key="k1") for _ in range(2))
    assert first.json() == second.json()
    balances = api.as_("funder").get("/api/v1/ledger/balances?account=POOL:juelich").json()["items"]
    assert [each["gpu_hours"] for each in balances] == ["1000.00"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"gpu_hours": 0}, "gpu_hours"),
        ({"gpu_hours": -1}, "gpu_hours"),
        ({"gpu_hours": "NaN"}, "gpu_hours"),
        ({"gpu_hours": "1e99"}, "gpu_hours"),
        ({"gpu_hours": "0.00000001"}, "gpu_hours"),
        ({"gpu_hours": True}, "gpu_hours"),
        ({"gpu_hours": [1]}, "gpu_hours"),
        ({"period": "2026-Q5"}, "period"),
        ({"period": "9999-Q1"}, "period"),
        ({"period": 7}, "period"),
        ({"gpu_class": "h100\0"}, "gpu_class"),
        ({"hours": 3}, "hours"),
    ],
)
@pytest.mark.usefixtures("juelich")
def test_a_pledge_that_makes_no_sense_names_its_field(api, change, field):
    refused = api.as_("site-admin", "juelich").post(PLEDGES, json=PLEDGE | change)
    assert refused.status_code == 422
    assert [each["field"].split(".")[-1] for each in refused.json()["errors"]] == [field]


def test_an_award_is_what_the_project_can_use(api, award):
    (line,) = api.as_("researcher", "legal-llm").get(BALANCE).json()["lines"]
    assert line["account"] == "LINE:legal-llm:juelich:H100:2026-Q4:default:default"
    assert (line["awarded_gpu_hours"], line["left_gpu_hours"], line["used_gpu_ms"]) == ("200.50", "200.50", 0)
    assert api.as_("pi", "legal-llm").get(AWARDS).json()["items"] == [award]


@pytest.mark.usefixtures("award")
def test_an_award_above_the_pool_is_refused_with_the_numbers_and_nothing_is_booked(api):
    lines = [LINE, LINE | {"stream": "grant-b", "gpu_hours": 700}]
    refused = api.as_("operator").post(AWARDS, json={"lines": lines})
    assert refused.status_code == 422
    assert "900.50 GPU-hours of H100 at juelich in 2026-Q4 cannot be awarded: 799.50 GPU-hours" in refused.text
    assert len(api.as_("operator").get(AWARDS).json()["items"]) == 1
    assert len(api.as_("funder").get("/api/v1/ledger/entries").json()["items"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"lines": []},
        {"lines": [LINE, LINE]},
        {"lines": [LINE | {"period": "2026-Q3"}]},
        {"lines": [LINE | {"gpu_hours": 0}]},
        {"lines": [LINE], "reason": "a\nb"},
        {"lines": [LINE], "why": "x"},
    ],
)
@pytest.mark.usefixtures("award")
def test_an_award_that_makes_no_sense_is_refused(api, body):
    assert api.as_("operator").post(AWARDS, json=body).status_code == 422


@pytest.mark.usefixtures("award")
def test_an_award_goes_to_a_project_and_a_site_that_exist(api):
    operator = api.as_("operator")
    assert operator.post("/api/v1/projects/no-such/awards", json={"lines": [LINE]}).status_code == 404
    assert operator.post(AWARDS, json={"lines": [LINE | {"site_id": "nowhere"}]}).status_code == 404
    assert operator.get("/api/v1/projects/no-such/balance").status_code == 404
    assert operator.get("/api/v1/sites/nowhere/pledges").status_code == 404


@pytest.mark.usefixtures("award")
def test_a_strangers_balance_looks_like_one_that_does_not_exist(api):
    stranger = api.as_("pi", "bio-llm")
    for path in ("balance", "awards"):
        hidden = stranger.get(f"/api/v1/projects/legal-llm/{path}")
        missing = stranger.get(f"/api/v1/projects/no-such/{path}")
        assert hidden.status_code == missing.status_code == 404
        assert hidden.json() == missing.json()


@pytest.mark.parametrize("path", ["balances", "entries", "verify"])
@pytest.mark.usefixtures("award")
def test_the_whole_ledger_is_for_funders_and_operators(api, path):
    assert api.as_("funder").get(f"/api/v1/ledger/{path}").status_code == 200
    assert api.as_("operator").get(f"/api/v1/ledger/{path}").status_code == 200
    for stranger in (api.as_("pi", "legal-llm"), api.as_("site-admin", "juelich"), api.as_person("nobody")):
        assert stranger.get(f"/api/v1/ledger/{path}").status_code in {403, 404}
    assert api.anonymous.get(f"/api/v1/ledger/{path}").status_code == 401


@pytest.mark.usefixtures("award")
def test_only_operators_award_and_only_admins_of_the_site_pledge(api):
    for caller in (api.as_("pi", "legal-llm"), api.as_("funder"), api.as_("site-admin", "juelich")):
        assert caller.post(AWARDS, json={"lines": [LINE]}).status_code in {403, 404}
    for caller in (api.as_("pi", "legal-llm"), api.as_("funder")):
        assert caller.post(PLEDGES, json=PLEDGE).status_code == 403


@pytest.mark.usefixtures("award")
def test_the_ledger_verifies_and_tells_each_sentence(api):
    told = api.as_("funder").get("/api/v1/ledger/verify").json()
    assert told["invariants_hold"]
    assert len(told["checks"]) == 11
    assert all(check == {"name": check["name"], "holds": True, "detail": ""} for check in told["checks"])


@pytest.mark.usefixtures("award")
def test_the_journal_is_paged_and_found_by_account_and_attempt(api, now):
    attempt_id = uuid4()
    hour = GpuMilliseconds.of_hours(1)
    wish = {"project_id": "legal-llm", "site_id": "juelich", "gpu_class": "H100", "gpus": 1, "amount": hour}
    service.reserve(api.db, attempt_id=attempt_id, now=now, latest_end=now + timedelta(days=1), **wish)
    use = Usage("e/1", 1, "own", now, now + timedelta(minutes=30), 1, GpuMilliseconds.of(gpus=1, seconds=1800))
    service.book(api.db, attempt_id=attempt_id, usage=[use], is_over=True, is_site_fault=False, now=now)
    funder = api.as_("funder")
    first = funder.get("/api/v1/ledger/entries?limit=3").json()
    rest = funder.get(f"/api/v1/ledger/entries?limit=3&cursor={first['next_cursor']}").json()
    kinds = [each["kind"] for each in first["items"] + rest["items"]]
    assert kinds == ["settle", "release", "reserve", "award", "supply"]
    assert rest["next_cursor"] is None
    of_attempt = funder.get(f"/api/v1/ledger/entries?attempt_id={attempt_id}").json()["items"]
    assert [each["kind"] for each in of_attempt] == ["settle", "release", "reserve"]
    of_pool = funder.get("/api/v1/ledger/entries?account=POOL:juelich:H100:2026-Q4").json()["items"]
    assert [each["kind"] for each in of_pool] == ["award", "supply"]
    assert funder.get("/api/v1/ledger/entries?account=POOL:juel").json()["items"] == []
    balances = funder.get("/api/v1/ledger/balances").json()["items"]
    assert {each["account"]: each["gpu_ms"] for each in balances} == {
        "CONSUMED:juelich:H100:2026-Q4": 1_800_000,
        "LINE:legal-llm:juelich:H100:2026-Q4:default:default": 200 * 3_600_000,
        "POOL:juelich:H100:2026-Q4": 799_500 * 3_600,
        "SUPPLY:juelich:H100": 1000 * 3_600_000,
    }


@pytest.mark.parametrize("query", ["account=%00", "account=a%25b", "attempt_id=x", "cursor=%C3%A4", "limit=0"])
@pytest.mark.usefixtures("juelich")
def test_a_query_that_makes_no_sense_is_refused(api, query):
    assert api.as_("funder").get(f"/api/v1/ledger/entries?{query}").status_code == 422


@pytest.mark.usefixtures("award")
def test_pledges_and_awards_leave_a_trace_of_who_made_them(api, now):
    assert Period.of(now) == Period(2026, 4)
    entries = api.as_("operator").get("/api/v1/ledger/entries").json()["items"]
    assert {each["actor"] for each in entries}.isdisjoint({"", "hub"})
