"""Are the issuer's pages plain, in two languages, and safe against another site's forms?"""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.issuer.conftest import query


def test_a_german_browser_gets_a_german_page(issuer):
    page = issuer.api.client.get(issuer.auth().url, headers={"Accept-Language": "de-DE,de;q=0.9,en;q=0.8"})
    assert '<html lang="de">' in page.text
    assert "Benutzername" in page.text
    assert page.headers["content-language"] == "de"


def test_each_field_has_a_label_and_the_page_a_heading(issuer):
    page = issuer.auth().text
    for name in re.findall(r'<input id="([^"]+)"', page):
        assert f'<label for="{name}">' in page
    assert page.count("<h1>") == 1


def test_a_page_runs_no_script_and_shows_in_no_frame(issuer):
    page = issuer.auth()
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in page.text


def test_a_wrong_password_says_no_more_than_that(issuer):
    unknown = issuer.log_in(issuer.auth(), "nobody", "x")
    wrong = issuer.log_in(issuer.auth(), "rita", "x")
    assert "not right" in wrong.text
    assert re.sub(r'(value|nonce)="[^"]*"', "", unknown.text) == re.sub(r'(value|nonce)="[^"]*"', "", wrong.text)


def test_a_name_with_many_wrong_passwords_has_to_wait(issuer):
    for _ in range(6):
        issuer.log_in(issuer.auth(), "rita", "x")
    assert issuer.log_in(issuer.auth()).status_code == 200  # right, and still not let in
    issuer.clock.move(timedelta(seconds=61))
    assert issuer.log_in(issuer.auth()).status_code == 302


def test_another_sites_form_does_nothing(issuer):
    page = issuer.auth()
    issuer.api.client.cookies.delete("CESAI_PAGES")
    answer = issuer.log_in(page)
    assert answer.status_code == 400
    assert "CESAI_SESSION" not in issuer.api.client.cookies


def test_a_page_that_stood_open_too_long_has_expired(issuer):
    page = issuer.auth()
    issuer.clock.move(timedelta(minutes=31))
    assert issuer.log_in(page).status_code == 400


def test_a_login_page_is_used_once(issuer):
    page = issuer.auth()
    assert issuer.log_in(page).status_code == 302
    assert issuer.log_in(page).status_code == 400


def test_cookies_are_kept_from_scripts_and_other_sites(issuer):
    back = issuer.log_in(issuer.auth())
    for cookie in back.headers.get_list("set-cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/realms/cesai" in cookie


def test_what_a_person_types_is_never_markup(issuer):
    page = issuer.api.anonymous.get("/realms/cesai/device", params={"user_code": "<script>alert(1)</script>"})
    assert "<script" not in page.text
    page = issuer.log_in(issuer.auth(), "<b>x</b>", "x")
    assert "<b>" not in page.text


@pytest.mark.parametrize("host", ["hub.example.org", "evil.example", "127.0.0.1.evil.example"])
def test_the_issuer_is_there_under_names_of_loopback_only(issuer, host):
    path = "/realms/cesai/.well-known/openid-configuration"
    assert issuer.api.anonymous.get(path).status_code == 200
    assert issuer.api.anonymous.get(path, headers={"Host": host}).status_code == 404


def test_logging_out_in_the_browser_asks_first_and_ends_the_session(issuer):
    tokens = issuer.tokens()
    page = issuer.api.anonymous.get("/realms/cesai/protocol/openid-connect/logout")
    assert issuer.userinfo(tokens["access_token"]).status_code == 200
    issuer.submit(page)
    assert issuer.userinfo(tokens["access_token"]).status_code == 401
    assert issuer.auth().status_code == 200


def test_a_client_logs_out_with_an_id_token_without_a_page(issuer):
    tokens = issuer.tokens()
    issuer.clock.move(timedelta(hours=1))  # an expired id token is still a good hint
    back = issuer.api.anonymous.get(
        "/realms/cesai/protocol/openid-connect/logout",
        params={
            "id_token_hint": tokens["id_token"],
            "post_logout_redirect_uri": "http://127.0.0.1:8000/",
            "state": "x",
        },
    )
    assert query(back) == {"state": "x"}
    assert issuer.refresh(tokens["refresh_token"]).json()["error_description"] == "Session not active"


def test_a_logout_never_returns_to_an_address_that_is_not_registered(issuer):
    tokens = issuer.tokens()
    answer = issuer.api.anonymous.get(
        "/realms/cesai/protocol/openid-connect/logout",
        params={"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": "https://evil.example/"},
    )
    assert answer.status_code == 200
    assert "signed out" in answer.text
