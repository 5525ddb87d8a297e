"""Which tokens are given for a refresh token, a device, a client, and when do they end?"""

from __future__ import annotations

import base64
from datetime import timedelta
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from cesai.issuer.service import users
from cesai.issuer.service.users import Seed
from tests.issuer.conftest import PROTOCOL, REALM, SERVICE_KEY, claims_of

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def test_a_refresh_gives_new_tokens_and_uses_the_old_one_up(issuer):
    first = issuer.tokens()
    second = issuer.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert claims_of(second["access_token"])["sid"] == claims_of(first["access_token"])["sid"]


def test_a_refresh_token_used_twice_ends_what_the_client_has_and_leaves_the_login(issuer):
    first = issuer.tokens()
    second = issuer.refresh(first["refresh_token"]).json()
    again = issuer.refresh(first["refresh_token"])
    assert (again.status_code, again.json()["error_description"]) == (
        400,
        "Maximum allowed refresh token reuse exceeded",
    )
    assert issuer.refresh(second["refresh_token"]).json()["error_description"] == "Session not active"
    assert issuer.auth().status_code == 302  # the browser is still logged in


def test_a_refresh_token_is_its_clients_alone(issuer):
    first = issuer.tokens()
    other = issuer.form(
        "token", grant_type="refresh_token", client_id="cesai-cli", refresh_token=first["refresh_token"]
    )
    assert other.json()["error"] == "invalid_grant"
    assert issuer.refresh(first["refresh_token"]).status_code == 200


def test_a_login_ends_when_it_is_not_used(issuer):
    first = issuer.tokens()
    issuer.clock.move(timedelta(hours=11))
    second = issuer.refresh(first["refresh_token"]).json()
    issuer.clock.move(timedelta(hours=12))
    assert issuer.refresh(second["refresh_token"]).json()["error_description"] == "Token is not active"


def test_a_login_ends_after_a_week_however_much_it_is_used(issuer):
    token = issuer.tokens()["refresh_token"]
    for _ in range(15):
        issuer.clock.move(timedelta(hours=11))
        token = issuer.refresh(token).json()["refresh_token"]
    issuer.clock.move(timedelta(hours=3))
    assert issuer.refresh(token).status_code == 400


def test_who_is_not_named_any_more_is_out_at_once(issuer):
    tokens = issuer.tokens()
    users.seed(issuer.api.db, [], now=issuer.clock.now())
    assert issuer.refresh(tokens["refresh_token"]).json()["error_description"] == "User disabled"
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert issuer.log_in(issuer.auth()).status_code == 200


def test_an_old_token_shows_current_roles(issuer):
    tokens = issuer.tokens()
    rita = Seed("rita", "rita's secret", "Rita Maria Test", "rita@example.org", roles=("operator",))
    users.seed(issuer.api.db, [rita], now=issuer.clock.now())
    seen = issuer.introspect(tokens["access_token"])
    assert seen["active"] is True
    assert seen["realm_access"] == {"roles": ["operator"]}
    assert "groups" not in seen


def device(issuer, **words: str):
    return issuer.form("auth/device", **({"client_id": "cesai-cli", "scope": "openid"} | words))


def poll(issuer, code: str):
    return issuer.form("token", grant_type=DEVICE, client_id="cesai-cli", device_code=code)


def approve(issuer, codes, answer: str = "yes"):
    page = issuer.api.anonymous.get("/realms/cesai/device", params={"user_code": codes["user_code"]})
    if 'name="password"' in page.text:
        page = issuer.log_in(page)
    assert codes["user_code"] in page.text
    return issuer.submit(page, answer=answer)


def test_a_device_is_let_in_by_a_person_in_a_browser(issuer):
    codes = device(issuer).json()
    assert set(codes) == {
        "device_code",
        "user_code",
        "verification_uri",
        "verification_uri_complete",
        "expires_in",
        "interval",
    }
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    assert codes["verification_uri"] == f"{REALM}/device"
    waiting = poll(issuer, codes["device_code"])
    assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
    assert "signed in" in approve(issuer, codes).text
    issuer.clock.move(timedelta(seconds=5))
    tokens = poll(issuer, codes["device_code"]).json()
    assert claims_of(tokens["access_token"])["jti"].startswith("onrtdg:")
    assert issuer.api.with_token(tokens["access_token"]).get("/api/v1/me").json()["username"] == "rita"
    issuer.clock.move(timedelta(seconds=5))
    assert poll(issuer, codes["device_code"]).json()["error_description"] == "Device code not valid"


def test_who_is_logged_in_already_is_still_asked_for_each_device(issuer):
    issuer.code()
    codes = device(issuer).json()
    page = issuer.api.anonymous.get("/realms/cesai/device", params={"user_code": codes["user_code"].lower()})
    assert "wants to act in your name" in page.text
    assert poll(issuer, codes["device_code"]).json()["error"] == "authorization_pending"


def test_a_device_that_asks_too_often_is_told_to_slow_down_and_must(issuer):
    code = device(issuer).json()["device_code"]
    poll(issuer, code)
    issuer.clock.move(timedelta(seconds=4))
    assert poll(issuer, code).json()["error"] == "slow_down"
    issuer.clock.move(timedelta(seconds=6))
    assert poll(issuer, code).json()["error"] == "slow_down"
    issuer.clock.move(timedelta(seconds=15))
    assert poll(issuer, code).json()["error"] == "authorization_pending"


def test_a_device_that_was_denied_hears_it(issuer):
    codes = device(issuer).json()
    assert "not signed in" in approve(issuer, codes, "no").text
    assert poll(issuer, codes["device_code"]).json()["error"] == "access_denied"


def test_a_device_code_expires_after_ten_minutes(issuer):
    codes = device(issuer).json()
    issuer.clock.move(timedelta(minutes=10))
    assert poll(issuer, codes["device_code"]).json()["error"] == "expired_token"
    page = issuer.api.anonymous.get("/realms/cesai/device", params={"user_code": codes["user_code"]})
    assert "not valid" in page.text


def test_a_consent_form_of_another_browser_lets_no_device_in(issuer):
    codes = device(issuer).json()
    page = issuer.log_in(issuer.api.anonymous.get("/realms/cesai/device", params={"user_code": codes["user_code"]}))
    issuer.api.client.cookies.clear()
    assert issuer.submit(page, answer="yes").status_code == 400
    assert poll(issuer, codes["device_code"]).json()["error"] == "authorization_pending"


def test_a_client_without_the_device_flow_gets_no_codes(issuer):
    answer = device(issuer, client_id="cesai-portal")
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


def test_a_client_acts_for_itself_with_its_secret(issuer):
    answer = issuer.form(
        "token", grant_type="client_credentials", client_id="cesai-hub", client_secret="hub secret"
    ).json()
    assert answer["refresh_expires_in"] == 0
    assert not {"refresh_token", "id_token", "session_state"} & set(answer)
    claims = claims_of(answer["access_token"])
    assert claims["jti"].startswith("trrtcc:")
    assert claims["preferred_username"] == "service-account-cesai-hub"
    assert not {"sid", "auth_time", "name", "email"} & set(claims)
    me = issuer.api.with_token(answer["access_token"]).get("/api/v1/me").json()
    assert me["memberships"] == [{"role": "operator", "scope": None}]


def test_a_secret_may_come_in_the_header(issuer):
    basic = base64.b64encode(b"cesai-hub:hub%20secret").decode()
    answer = issuer.api.anonymous.post(
        f"{PROTOCOL}/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {basic}"},
        key="",
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        ({"client_id": "cesai-hub", "client_secret": "wrong"}, 401, "unauthorized_client"),
        ({"client_id": "cesai-hub"}, 401, "unauthorized_client"),
        ({"client_id": "nobody", "client_secret": "x"}, 401, "invalid_client"),
        ({}, 401, "invalid_client"),
        ({"client_id": "cesai-cli"}, 401, "unauthorized_client"),
    ],
)
def test_a_client_that_cannot_show_who_it_is_gets_nothing(issuer, words, status, error):
    answer = issuer.form("token", grant_type="client_credentials", **words)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("words", "error"),
    [({}, "invalid_request"), ({"grant_type": "password"}, "unsupported_grant_type")],
)
def test_a_strange_grant_is_refused(issuer, words, error):
    answer = issuer.form("token", client_id="cesai-cli", **words)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def assertion(now, key: RSAKey = SERVICE_KEY, **changes: object) -> str:
    at = int(now.timestamp())
    claims = {"iss": "service", "sub": "service", "aud": REALM, "exp": at + 60, "jti": uuid4().hex} | changes
    return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


def by_assertion(issuer, word: str):
    return issuer.form(
        "token", grant_type="client_credentials", client_assertion_type=JWT_BEARER, client_assertion=word
    )


def test_a_client_shows_who_it_is_by_its_own_signature(issuer, now):
    answer = by_assertion(issuer, assertion(now))
    assert claims_of(answer.json()["access_token"])["azp"] == "service"
    assert by_assertion(issuer, assertion(now, aud=f"{REALM}/protocol/openid-connect/token")).status_code == 200


def test_a_clients_word_is_heard_once(issuer, now):
    word = assertion(now)
    assert by_assertion(issuer, word).status_code == 200
    again = by_assertion(issuer, word)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_client")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [REALM]},
        {"aud": "https://elsewhere.example"},
        {"iss": "cesai-hub"},
        {"sub": "cesai-hub"},
        {"exp": 1},
        {"exp": 4_000_000_000},
        {"jti": ""},
        {"key": RSAKey.generate_key(2048, {"kid": "service-key"})},
    ],
)
def test_a_clients_word_that_is_not_quite_right_is_not_believed(issuer, now, changes):
    answer = by_assertion(issuer, assertion(now, **changes))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client")


def test_userinfo_says_who_somebody_is(issuer):
    seen = issuer.userinfo(issuer.tokens()["access_token"]).json()
    assert seen["preferred_username"] == "rita"
    assert seen["groups"] == ["/projects/legal-llm/members"]


def test_userinfo_of_no_good_token_is_empty_with_a_challenge(issuer):
    answer = issuer.userinfo("rubbish")
    assert (answer.status_code, answer.text) == (401, "")
    assert answer.headers["www-authenticate"] == 'Bearer realm="cesai", error="invalid_token"'


def test_userinfo_needs_the_scope_openid(issuer):
    tokens = issuer.redeem(issuer.code(scope="email")).json()
    assert "id_token" not in tokens
    assert issuer.userinfo(tokens["access_token"]).status_code == 403


def test_introspection_is_for_the_client_that_a_token_is_meant_for(issuer, clock):
    tokens = issuer.tokens()
    assert issuer.introspect(tokens["access_token"])["username"] == "rita"
    assert issuer.form("token/introspect", client_id="cesai-cli", token=tokens["access_token"]).status_code == 401
    assert issuer.introspect(tokens["id_token"]) == {"active": False}
    clock.move(timedelta(minutes=5))
    assert issuer.introspect(tokens["access_token"]) == {"active": False}


def test_a_revoked_token_ends_what_the_client_has(issuer):
    tokens = issuer.tokens()
    assert issuer.form("revoke", client_id="cesai-portal", token=tokens["refresh_token"]).status_code == 200
    assert issuer.refresh(tokens["refresh_token"]).status_code == 400
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert issuer.form("revoke", client_id="cesai-portal", token="strange").status_code == 200


def test_logging_out_with_a_refresh_token_ends_the_login(issuer):
    tokens = issuer.tokens()
    answer = issuer.form("logout", client_id="cesai-portal", refresh_token=tokens["refresh_token"])
    assert (answer.status_code, answer.text) == (204, "")
    assert issuer.auth().status_code == 200
