"""Is the API's own description whole and stable, and does the hub say how it is?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from cesai.db import due
from cesai.hub.app import TAGS


@pytest.fixture
def document(api):
    return api.anonymous.get("/api/v1/openapi.json").json()


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_a_name_of_its_own_that_does_not_hang_on_its_path(document):
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names)) > 30
    assert {"access-me", "sites-register", "federation-submit"} <= set(names)


def test_every_operation_has_a_described_tag_and_a_sentence(document):
    described = {tag["name"] for tag in TAGS}
    for name, operation in operations(document):
        assert set(operation["tags"]) <= described, name
        assert operation["description"].strip().endswith("."), name


def test_every_operation_that_is_not_public_asks_for_a_token(document):
    public = {
        "GET /.well-known/oauth-protected-resource",
        "GET /api/v1/health",
        "GET /api/v1/schemas/job",
        "POST /agent/v1/enrol",
    }
    for name, operation in operations(document):
        schemes = {scheme for need in operation.get("security", ()) for scheme in need}
        if name in public:
            assert schemes == set(), name
        else:
            assert schemes == ({"agent"} if name.startswith("POST /agent/") else {"person"}), name


def test_every_post_of_people_takes_a_key(document):
    # A plan keeps nothing, and an agent has its own sequence.
    exempt = {"POST /api/v1/placement/plan", "POST /agent/v1/enrol", "POST /agent/v1/sync"}
    for name, operation in operations(document):
        headers = {each["name"].lower() for each in operation.get("parameters", ()) if each["in"] == "header"}
        if name.startswith("POST ") and name not in exempt:
            assert "idempotency-key" in headers, name


def test_path_parameters_say_what_they_name(document):
    for name, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                assert parameter["name"].endswith("_id") or parameter["name"] == "username", name


def test_the_issuers_protocol_is_no_part_of_the_api(document):
    assert not [path for path in document["paths"] if path.startswith("/realms")]


def test_health_is_red_until_beat_and_worker_were_seen_and_when_they_stop(api, clock):
    def health():
        answer = api.anonymous.get("/api/v1/health")
        return answer.status_code, answer.json()

    status, body = health()
    assert (status, body["status"], body["beat_age_s"]) == (503, "unwell", None)
    due.beat(api.db, "beat", now=clock.now())
    assert health()[0] == 503
    due.beat(api.db, "worker", now=clock.now())
    status, body = health()
    assert status == 200
    assert body == {
        "status": "ok",
        "version": body["version"],
        "database": "ok",
        "beat_age_s": 0.0,
        "worker_age_s": 0.0,
    }
    clock.move(timedelta(seconds=31))
    status, body = health()
    assert (status, body["beat_age_s"]) == (503, 31.0)


def test_a_client_learns_where_tokens_come_from(api):
    assert api.anonymous.get("/.well-known/oauth-protected-resource").json() == {
        "resource": "http://127.0.0.1:8000",
        "authorization_servers": ["http://issuer.test/realms/cesai"],
        "bearer_methods_supported": ["header"],
    }
