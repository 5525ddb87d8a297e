"""What do the routes of access answer?"""

from __future__ import annotations


def test_somebody_learns_who_he_is(api):
    answer = api.as_("pi", "legal-llm", username="rita").get("/api/v1/me")
    assert answer.status_code == 200
    assert answer.json() == {
        "username": "rita",
        "name": "Rita",
        "memberships": [{"role": "pi", "scope": "legal-llm"}],
    }


def test_nobody_is_told_to_sign_in(api):
    answer = api.anonymous.get("/api/v1/me")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "cesai login" in answer.json()["detail"]


def test_an_operator_makes_somebody_a_reviewer_before_his_first_login(api):
    operator = api.as_("operator")
    made = operator.post("/api/v1/memberships", json={"username": "vera", "role": "reviewer"})
    assert made.status_code == 201
    assert api.as_person("vera").get("/api/v1/me").json()["memberships"] == [{"role": "reviewer", "scope": None}]


def test_a_membership_that_is_taken_away_ends_at_once(api):
    operator = api.as_("operator")
    made = operator.post("/api/v1/memberships", json={"username": "vera", "role": "operator"}).json()
    vera = api.as_person("vera")
    assert vera.get("/api/v1/memberships").status_code == 200
    assert operator.delete(f"/api/v1/memberships/{made['id']}").status_code == 204
    assert vera.get("/api/v1/memberships").status_code == 403
    assert operator.delete(f"/api/v1/memberships/{made['id']}").status_code == 404


def test_a_role_without_its_scope_is_refused_with_what_to_do(api):
    answer = api.as_("operator").post("/api/v1/memberships", json={"username": "vera", "role": "pi"})
    assert answer.status_code == 422
    assert "project" in answer.json()["detail"]


def test_a_bad_field_is_named(api):
    answer = api.as_("operator").post("/api/v1/memberships", json={"username": "a\nb", "role": "king", "x": 1})
    assert answer.status_code == 422
    assert {each["field"] for each in answer.json()["errors"]} == {"username", "role", "x"}


def test_memberships_are_read_page_by_page(api):
    operator = api.as_("operator")
    for number in range(5):
        operator.post(
            "/api/v1/memberships", json={"username": f"p{number}", "role": "researcher", "scope": "legal-llm"}
        )
    seen, cursor = [], None
    while True:
        query = {"scope": "legal-llm", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = operator.get("/api/v1/memberships", params=query).json()
        seen += [each["username"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ["p4", "p3", "p2", "p1", "p0"]
    assert operator.get("/api/v1/memberships", params={"cursor": "rubbish"}).status_code == 422


def test_the_same_key_does_it_once_and_answers_the_same(api):
    operator = api.as_("operator")
    body = {"username": "vera", "role": "reviewer"}
    first = operator.post("/api/v1/memberships", json=body, key="k1")
    second = operator.post("/api/v1/memberships", json=body, key="k1")
    other = operator.post("/api/v1/memberships", json=body | {"username": "rita"}, key="k1")
    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 422)
    assert first.json() == second.json()


def test_a_post_without_a_key_is_not_carried_out(api):
    operator = api.as_("operator")
    answer = operator.post("/api/v1/memberships", json={"username": "vera", "role": "reviewer"}, key="")
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["detail"]
