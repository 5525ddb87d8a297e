"""Do the issuer's rules hold for every case?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.issuer import rules
from cesai.issuer.rules import Denial, DeviceState

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accept", "lang"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", "de"),
        ("en-US,en;q=0.5", "en"),
        ("fr,de;q=0.3", "de"),
        ("en;q=0.2,de;q=0.7", "de"),
        ("", "en"),
        ("fr", "en"),
        ("de;q=x,en", "en"),
    ],
)
def test_the_browsers_favourite_of_two_languages_is_taken(accept, lang):
    assert rules.language(accept) == lang


@given(st.text())
def test_any_language_header_gives_a_language(accept):
    assert rules.language(accept) in rules.LANGUAGES


@given(st.text())
def test_no_text_is_an_allowed_address_but_registered_ones(uri):
    known = ("https://hub.example/callback", "http://127.0.0.1/callback")
    if rules.is_redirect_allowed(uri, known):
        assert uri in known or uri.startswith("http://127.0.0.1:")


@given(st.integers(min_value=0, max_value=10_000))
def test_the_wait_after_wrong_passwords_only_grows_and_ends(failures):
    assert rules.wait_after(failures) <= rules.wait_after(failures + 1) <= timedelta(seconds=60)


def test_the_wait_begins_after_five_wrong_passwords():
    assert rules.wait_after(4) == timedelta()
    assert rules.wait_after(5) == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("changes", "denial"),
    [
        ({}, Denial.PENDING),
        ({"is_approved": True}, None),
        ({"is_approved": False}, Denial.DENIED),
        ({"is_used": True, "is_approved": True}, Denial.WRONG_DEVICE),
        ({"expires_at": NOW}, Denial.DEVICE_OVER),
        ({"last_poll_at": NOW - timedelta(seconds=4), "is_approved": True}, Denial.SLOW_DOWN),
        ({"last_poll_at": NOW - timedelta(seconds=5)}, Denial.PENDING),
    ],
)
def test_a_device_hears_what_rfc_8628_says(changes, denial):
    plain = {
        "expires_at": NOW + timedelta(minutes=1),
        "interval_s": 5,
        "last_poll_at": None,
        "is_used": False,
        "is_approved": None,
    }
    assert rules.judge_device(DeviceState(**(plain | changes)), NOW) is denial


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("", False)],  # noqa: S104  it is refused
)
def test_loopback_is_this_machine_alone(host, is_own):
    assert rules.is_loopback(host) is is_own


def test_the_challenge_of_the_standards_example_fits_its_verifier():
    challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert rules.check_verifier(challenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") is None
    assert rules.check_verifier(challenge, "x" * 43) is Denial.WRONG_VERIFIER


def test_a_user_code_is_read_however_it_is_typed():
    assert rules.plain_user_code(" ebwv udaf".replace("e", "c").replace("u", "x").replace("a", "b")) == "CBWVXDBF"
    assert rules.shown_user_code("BCDFGHJK") == "BCDF-GHJK"
