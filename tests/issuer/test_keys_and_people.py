"""Does a restart keep logins and keys, and does the file of people rule who comes in?"""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from cesai.hub.app import create_app, prepare
from cesai.hub.settings import Settings, Unfit, check, check_host
from cesai.issuer.schemas import SeedFile
from cesai.issuer.service import keys, users
from tests.acting import Api
from tests.issuer.conftest import HUB, PEOPLE, PROTOCOL, Issuer, write_people


def test_a_restart_keeps_logins_and_keys(issuer, tmp_path):
    tokens = issuer.tokens()
    settings = Settings(public_url=HUB, issuer_users_file=write_people(tmp_path, PEOPLE), _env_file=None)
    app = create_app(settings, engine=issuer.api.app.state.engine, clock=issuer.clock)
    prepare(app)
    restarted = Issuer(Api(app, TestClient(app, base_url=HUB, follow_redirects=False), issuer.api.db), issuer.clock)
    assert restarted.userinfo(tokens["access_token"]).status_code == 200
    assert restarted.api.with_token(tokens["access_token"]).get("/api/v1/me").status_code == 200
    assert restarted.refresh(tokens["refresh_token"]).status_code == 200
    restarted.api.client.cookies = issuer.api.client.cookies
    assert restarted.auth().status_code == 302


def test_a_rotated_key_signs_and_the_former_still_counts(issuer):
    old = issuer.tokens()["access_token"]
    keys.rotate(issuer.api.db, now=issuer.clock.now())
    published = issuer.api.anonymous.get(f"{PROTOCOL}/certs").json()["keys"]
    assert len(published) == 2
    assert all(key["alg"] == "RS256" and key["use"] == "sig" and "d" not in key for key in published)
    assert issuer.userinfo(old).status_code == 200
    assert issuer.userinfo(issuer.redeem(issuer.code()).json()["access_token"]).status_code == 200


def test_discovery_names_keycloaks_paths(issuer):
    found = issuer.api.anonymous.get("/realms/cesai/.well-known/openid-configuration").json()
    base = f"{HUB}/realms/cesai/protocol/openid-connect"
    assert found["issuer"] == f"{HUB}/realms/cesai"
    assert found["authorization_endpoint"] == f"{base}/auth"
    assert found["token_endpoint"] == f"{base}/token"
    assert found["introspection_endpoint"] == f"{base}/token/introspect"
    assert found["userinfo_endpoint"] == f"{base}/userinfo"
    assert found["end_session_endpoint"] == f"{base}/logout"
    assert found["revocation_endpoint"] == f"{base}/revoke"
    assert found["device_authorization_endpoint"] == f"{base}/auth/device"
    assert found["jwks_uri"] == f"{base}/certs"


def test_a_person_keeps_his_id_and_a_new_password_counts(issuer):
    before = issuer.userinfo(issuer.tokens()["access_token"]).json()["sub"]
    rita = users.Seed("rita", "another", "Rita Test", "rita@example.org")
    users.seed(issuer.api.db, [rita], now=issuer.clock.now())
    issuer.api.client.cookies.clear()
    assert issuer.log_in(issuer.auth()).status_code == 200
    tokens = issuer.redeem(issuer.log_in(issuer.auth(), "rita", "another").headers["location"].split("code=")[1])
    assert issuer.userinfo(tokens.json()["access_token"]).json()["sub"] == before


def test_passwords_are_kept_hashed(issuer):
    kept = users.hash_password("geheim")
    assert "geheim" not in kept
    assert users.is_password("geheim", kept)
    assert not users.is_password("Geheim", kept)
    assert issuer.api.db is not None


def test_a_file_that_others_may_read_is_refused(tmp_path):
    file = write_people(tmp_path, PEOPLE)
    file.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        SeedFile.read(file)


def test_a_file_with_an_unknown_word_is_refused(tmp_path):
    with pytest.raises(ValueError, match="passwort"):
        SeedFile.read(write_people(tmp_path, {"users": [{"username": "x", "passwort": "y"}]}))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"environment": "production", "public_url": "https://127.0.0.1"}, "Keycloak"),
        ({"public_url": "http://hub.example.org"}, "Keycloak"),
        (
            {
                "environment": "production",
                "issuer_url": "https://kc.example/realms/cesai",
                "public_url": "http://hub.example.org",
            },
            "https",
        ),
    ],
)
def test_the_issuer_does_not_start_where_others_could_reach_it(changes, word):
    with pytest.raises(Unfit, match=word):
        check(Settings(**changes, _env_file=None))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "hub.example.org"])  # noqa: S104  it is refused
def test_the_hub_with_the_issuer_listens_on_loopback_only(host):
    with pytest.raises(Unfit, match=r"127\.0\.0\.1"):
        check_host(Settings(_env_file=None), host)
    check_host(Settings(issuer_url="https://kc.example/realms/cesai", _env_file=None), host)
