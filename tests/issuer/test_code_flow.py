"""Does a browser's login give the tokens that Keycloak would give, and nothing else?"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.issuer.conftest import CALLBACK, CHALLENGE, REALM, claims_of, query


def test_a_login_brings_back_a_code_with_state_session_and_issuer(issuer):
    page = issuer.auth()
    assert page.status_code == 200
    assert "CESAI hub" in page.text
    back = issuer.log_in(page)
    assert back.headers["location"].startswith(f"{CALLBACK}?")
    words = query(back)
    assert words["state"] == "s1"
    assert words["iss"] == REALM
    assert len(words["session_state"]) == 24
    assert set(words) == {"state", "session_state", "iss", "code"}


def test_tokens_look_like_keycloaks(issuer, now):
    answer = issuer.redeem(issuer.code())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {
        "access_token",
        "expires_in",
        "refresh_expires_in",
        "refresh_token",
        "token_type",
        "id_token",
        "not-before-policy",
        "session_state",
        "scope",
    }
    at = int(now.timestamp())
    access = claims_of(body["access_token"])
    assert access.pop("jti").startswith("onrtac:")
    assert access.pop("sub")
    assert access == {
        "exp": at + 300,
        "iat": at,
        "auth_time": at,
        "iss": REALM,
        "aud": "cesai-hub",
        "typ": "Bearer",
        "azp": "cesai-portal",
        "sid": body["session_state"],
        "acr": "1",
        "allowed-origins": ["http://127.0.0.1:8000"],
        "realm_access": {"roles": ["researcher"]},
        "scope": "openid email profile",
        "email_verified": True,
        "name": "Rita Maria Test",
        "groups": ["/projects/legal-llm/members"],
        "preferred_username": "rita",
        "given_name": "Rita Maria",
        "family_name": "Test",
        "email": "rita@example.org",
    }
    identity = claims_of(body["id_token"])
    assert (identity["aud"], identity["typ"], identity["nonce"]) == ("cesai-portal", "ID", "n1")
    assert "at_hash" in identity
    assert not {"scope", "realm_access", "allowed-origins"} & set(identity)


def test_the_hub_believes_the_access_token_and_not_the_id_token(issuer):
    tokens = issuer.tokens()
    me = issuer.api.with_token(tokens["access_token"]).get("/api/v1/me")
    assert me.json()["memberships"] == [{"role": "researcher", "scope": "legal-llm"}]
    assert issuer.api.with_token(tokens["id_token"]).get("/api/v1/me").status_code == 401


def test_a_person_without_groups_has_no_such_claim(issuer):
    back = issuer.log_in(issuer.auth(), "olga", "olga's secret")
    access = claims_of(issuer.redeem(query(back)["code"]).json()["access_token"])
    assert "groups" not in access


def test_who_is_logged_in_is_not_asked_again_unless_the_client_wants_it(issuer):
    issuer.code()
    assert issuer.auth().status_code == 302
    assert issuer.auth(prompt="login").status_code == 200


def test_a_silent_login_without_a_session_says_so(issuer):
    words = query(issuer.auth(prompt="none"))
    assert words == {"error": "login_required", "state": "s1", "iss": REALM}


def test_a_code_is_good_once_and_its_second_use_ends_what_it_gave(issuer):
    code = issuer.code()
    first = issuer.redeem(code).json()
    again = issuer.redeem(code)
    assert (again.status_code, again.json()) == (
        400,
        {"error": "invalid_grant", "error_description": "Code not valid"},
    )
    assert issuer.introspect(first["access_token"]) == {"active": False}
    assert issuer.refresh(first["refresh_token"]).json()["error_description"] == "Session not active"


def test_a_wrong_verifier_burns_the_code(issuer):
    code = issuer.code()
    wrong = issuer.redeem(code, code_verifier="w" * 43)
    assert wrong.json()["error_description"] == "PKCE verification failed: Code mismatch"
    assert issuer.redeem(code).json()["error_description"] == "Code not valid"


def test_a_code_without_a_verifier_is_worth_nothing(issuer):
    assert issuer.redeem(issuer.code(), code_verifier="").json()["error_description"] == (
        "PKCE code verifier not specified"
    )


def test_a_code_of_another_client_or_address_is_worth_nothing(issuer):
    other = issuer.redeem(issuer.code(), client_id="cesai-cli")
    assert other.json()["error_description"] == "Code not valid"
    elsewhere = issuer.redeem(issuer.code(), redirect_uri=f"{CALLBACK}/x")
    assert elsewhere.json()["error_description"] == "Incorrect redirect_uri"


def test_a_code_is_good_for_one_minute(issuer):
    code = issuer.code()
    issuer.clock.move(timedelta(minutes=1))
    assert issuer.redeem(code).json()["error_description"] == "Code not valid"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "openid admin"}, "invalid_scope"),
    ],
)
def test_a_client_that_asks_wrongly_hears_it(issuer, changes, error):
    assert query(issuer.auth(**changes))["error"] == error


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/login/callback",
        f"{CALLBACK}/../x",
        f"{CALLBACK}#x",
        "http://127.0.0.1:8000@evil.example/login/callback",
        "//evil.example",
        "",
    ],
)
def test_a_login_never_returns_to_an_address_that_is_not_registered(issuer, uri):
    answer = issuer.auth(redirect_uri=uri)
    assert answer.status_code == 400
    assert "location" not in answer.headers


def test_the_command_line_may_listen_at_any_port_of_loopback_and_nowhere_else(issuer):
    for uri, status in (
        ("http://127.0.0.1:43817/callback", 200),
        ("http://localhost:1/callback", 200),
        ("http://127.0.0.1:43817/other", 400),
        ("https://127.0.0.1:43817/callback", 400),
        ("http://127.0.0.1.evil.example:1/callback", 400),
        ("http://127.0.0.1:99999/callback", 400),
    ):
        assert issuer.auth(client_id="cesai-cli", redirect_uri=uri).status_code == status, uri


def test_an_unknown_client_is_not_sent_anywhere(issuer):
    assert issuer.auth(client_id="evil").status_code == 400


def test_the_challenge_is_part_of_the_code(issuer):
    assert CHALLENGE != "v" * 43
    assert issuer.redeem(issuer.code(), code_verifier=CHALLENGE).status_code == 400
