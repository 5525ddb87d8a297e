"""Is every route open to exactly those who should call it?"""

from __future__ import annotations

import base64
import hmac
import json
from datetime import timedelta

import pytest

from cesai.access import service as access
from cesai.access.rules import Role
from cesai.federation import service as federation
from cesai.hub import access_table
from cesai.hub.app import create_app
from cesai.hub.settings import Settings
from tests.access.matrix import EXPECTED, IN, PRINCIPALS
from tests.acting import claims, sign, signing_key
from tests.federation.conftest import fund, furnish, pool
from tests.federation.test_routes import JOB, HttpAgent

ROWS = access_table.rows(create_app(Settings(_env_file=None)))
GUARDED = [row for row in ROWS if row.policy != access_table.PROTOCOL]


def name_of(row: access_table.Row) -> str:
    return f"{row.method} {row.path}"


def test_the_tree_of_routes_is_not_empty():
    assert len(GUARDED) > 40


def test_every_route_has_its_row_and_every_row_its_route():
    assert {name_of(row) for row in GUARDED} == set(EXPECTED)


def test_what_needs_no_policy_is_the_issuers_protocol_alone():
    unguarded = {row.path for row in ROWS if row.policy == access_table.PROTOCOL}
    assert unguarded
    assert all(path.startswith("/realms/cesai/") for path in unguarded)


def encoded(part) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def forged(payload, algorithm: str) -> str:
    body = f"{encoded({'alg': algorithm, 'kid': 'test-key'})}.{encoded(payload)}"
    mac = hmac.digest(signing_key().as_pem(private=False), body.encode(), "sha256") if algorithm == "HS256" else b""
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


@pytest.fixture
def hub(api, clock):
    """Two furnished sites, a group with an award, its job; and somebody of every sort."""
    furnish(api.db, clock.now())
    agents = {site: HttpAgent(api, site) for site in ("juelich", "rwth")}
    agents["juelich"].tell_capacity()
    agents["rwth"].tell_capacity(pool("rwth"))
    fund(api.db, clock.now())
    operator = claims("operator", clock.now())
    api.principals = {
        "anonymous": api.anonymous,
        "stranger": api.as_person("stranger"),
        "researcher": api.as_("researcher", "legal-llm"),
        "researcher-elsewhere": api.as_("researcher", "other"),
        "pi": api.as_("pi", "legal-llm"),
        "pi-elsewhere": api.as_("pi", "other"),
        "reviewer": api.as_("reviewer"),
        "site-admin": api.as_("site-admin", "juelich"),
        "site-admin-elsewhere": api.as_("site-admin", "rwth"),
        "funder": api.as_("funder"),
        "operator": api.as_("operator"),
        "agent": agents["juelich"].acting,
        "agent-elsewhere": agents["rwth"].acting,
        "expired": api.with_token(sign(claims("operator", clock.now() - timedelta(hours=1)))),
        "other-audience": api.with_token(sign(operator | {"aud": "cesai-portal"})),
        "id-token": api.with_token(sign(operator | {"typ": "ID"})),
        "alg-none": api.with_token(forged(operator, "none")),
        "hs256": api.with_token(forged(operator, "HS256")),
    }
    job = api.principals["researcher"].post("/api/v1/jobs", json=JOB).json()
    federation.run_round(api.db, clock.now())  # it is placed at juelich
    granted, _ = access.grant(api.db, username="rita", role=Role.PI, scope="legal-llm", by="test", now=clock.now())
    api.things = {
        "site_id": "juelich",
        "project_id": "legal-llm",
        "username": "rita",
        "membership_id": str(granted.id),
        "job_id": job["id"],
    }
    return api


def how_far(hub, row, principal: str) -> int | str:
    """How far somebody comes; what he does on the way is undone."""
    undone = hub.db.begin_nested()
    path = row.path.format_map(hub.things)
    body = {"json": {}} if row.method in {"POST", "PUT"} else {}
    answer = hub.principals[principal].request(row.method, path, **body)
    undone.rollback()
    return answer.status_code if answer.status_code in {401, 403, 404} else IN


def test_every_route_is_open_to_exactly_those_who_should_call_it(hub):
    found = {name_of(row): {principal: how_far(hub, row, principal) for principal in PRINCIPALS} for row in GUARDED}
    assert found == EXPECTED


NOWHERE = {
    "site_id": "nowhere",
    "project_id": "nothing",
    "username": "nobody",
    "membership_id": "00000000-0000-7000-8000-000000000000",
    "job_id": "00000000-0000-7000-8000-000000000000",
}


def test_what_somebody_may_not_see_answers_like_what_does_not_exist(hub):
    for row in GUARDED:
        body = {"json": {}} if row.method in {"POST", "PUT"} else {}
        for principal in (name for name, cell in EXPECTED[name_of(row)].items() if cell == 404):
            acting = hub.principals[principal]
            hidden = acting.request(row.method, row.path.format_map(hub.things), **body)
            missing = acting.request(row.method, row.path.format_map(NOWHERE), **body)
            assert hidden.status_code == 404
            assert (hidden.status_code, hidden.json()) == (missing.status_code, missing.json())
