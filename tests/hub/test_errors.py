"""Does every no look the same and say what to do?"""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from cesai.access import rules as access
from cesai.db import idempotency
from cesai.hub import errors
from cesai.kernel import errors as kernel
from cesai.kernel.errors import CesaiError, NotFound, Refused, Stale


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound(), 404),
        (Refused("no"), 422),
        (Stale("old"), 409),
        (CesaiError("bug"), 500),
        (kernel.OnRecord("no"), 422),
        (access.NotSignedIn("who"), 401),
        (access.Forbidden("no"), 403),
        (access.IssuerSilent("wait"), 503),
        (idempotency.KeyMissing("key"), 400),
        (idempotency.KeyReused("key"), 422),
        (idempotency.InFlight("wait"), 409),
    ],
)
def test_each_kind_of_no_has_its_status(error, status):
    answer = errors.problem(error)
    assert answer.status_code == status
    assert answer.media_type == "application/problem+json"


def test_a_new_kind_of_refusal_is_a_refusal_and_an_unknown_kind_is_our_mistake():
    class TooMuch(Refused):
        pass

    class Strange(CesaiError):
        pass

    assert errors.problem(TooMuch("x")).status_code == 422
    assert errors.problem(Strange("x")).status_code == 500


def test_an_unknown_address_answers_like_a_missing_thing(api):
    unknown = api.anonymous.get("/api/v1/nothing")
    assert unknown.status_code == 404
    assert unknown.json() == {
        "type": "urn:cesai:not-found",
        "title": "Not Found",
        "status": 404,
        "detail": NotFound().sentence,
    }
    missing = api.as_("operator").delete("/api/v1/memberships/00000000-0000-7000-8000-000000000000")
    assert missing.json() == unknown.json()


def test_a_wrong_method_is_told_with_those_that_there_are(api):
    answer = api.anonymous.put("/api/v1/me", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("content", "field"),
    [(b"{", ""), (b"", ""), (b"[]", ""), (b'{"username": 1, "role": "pi"}', "username")],
)
def test_a_body_that_cannot_be_read_names_the_field(api, content, field):
    answer = api.as_("operator").post(
        "/api/v1/memberships", content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert field in {each["field"].split(".")[0] for each in answer.json()["errors"]}


def test_a_query_that_cannot_be_read_names_the_field(api):
    answer = api.as_("operator").get("/api/v1/memberships", params={"limit": 0})
    assert answer.json()["errors"][0]["field"] == "limit"


def test_a_path_that_cannot_be_read_names_the_field(api):
    answer = api.as_("operator").delete("/api/v1/memberships/no-uuid")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "membership_id")


def test_what_cannot_be_stored_is_a_clear_error(api):
    answer = api.as_("operator").get("/api/v1/memberships", params={"username": "a\0b"})
    assert answer.status_code == 422
    assert "NUL" in answer.json()["detail"]


def test_a_body_that_is_too_large_is_refused(api):
    operator = api.as_("operator")
    told = operator.post("/api/v1/memberships", content=b"x" * (17 * 1024 * 1024))
    chunks = operator.post(
        "/api/v1/memberships",
        content=(b"x" * 2**20 for _ in range(17)),
        headers={"Content-Type": "application/json"},
    )
    for answer in (told, chunks):
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_of_no_letters_is_a_clear_error(api):
    answer = api.as_("operator").post(
        "/api/v1/memberships", content=b"\xff", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


class UniqueViolation(Exception):
    """As the driver tells that a key is taken."""

    sqlstate = "23505"


class OtherViolation(Exception):
    """As the driver tells that another constraint is broken."""

    sqlstate = "23514"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (IntegrityError("", {}, UniqueViolation()), 409),
        (IntegrityError("", {}, OtherViolation()), 500),
        (RuntimeError("secret inside"), 500),
    ],
)
def test_a_collision_is_told_from_a_bug_and_neither_tells_secrets(error, status):
    app = FastAPI()
    errors.install(app)

    @app.get("/")
    def fail() -> None:
        raise error

    answer = TestClient(app, raise_server_exceptions=False).get("/")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
