"""Is a token believed only when everything about it is right?"""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from cesai.access import tokens
from cesai.access.rules import IssuerSilent, NotSignedIn
from cesai.access.tokens import IssuerKeys, KeysUnavailable, Verifier
from tests.acting import AUDIENCE, ISSUER, agent_token, claims, issuer_keys, sign, signing_key


@pytest.fixture
def verifier():
    keys = IssuerKeys(issuer_keys, monotonic=time.monotonic)
    return Verifier(issuer=ISSUER, audience=AUDIENCE, keys=keys)


def test_a_good_token_says_who_somebody_is(verifier, now):
    token = sign(claims("rita", now, groups=["/projects/a/members"], realm_access={"roles": ["operator"]}))
    identity = verifier.identity(token, now)
    assert (identity.username, identity.name) == ("rita", "Rita")
    assert identity.roles == {"operator"}
    assert identity.groups == {"/projects/a/members"}


def test_one_of_several_audiences_may_be_ours(verifier, now):
    assert verifier.identity(sign(claims("rita", now, aud=["account", AUDIENCE])), now)


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": 0},
        {"exp": "tomorrow"},
        {"iss": None},
        {"iss": "http://elsewhere.test/realms/cesai"},
        {"aud": None},
        {"aud": "cesai-portal"},
        {"aud": ["account"]},
        {"typ": "ID"},
        {"typ": None},
        {"typ": "Refresh"},
        {"sub": None},
        {"sub": ""},
        {"nbf": 4_000_000_000},
        {"preferred_username": None, "azp": None},
    ],
)
def test_a_token_with_one_wrong_claim_is_not_believed(verifier, now, changes):
    with pytest.raises(NotSignedIn):
        verifier.identity(sign(claims("rita", now, **changes)), now)


def test_a_token_ends_on_time(verifier, now):
    token = sign(claims("rita", now))
    slack = timedelta(seconds=tokens.CLOCK_SLACK_S)
    assert verifier.identity(token, now + timedelta(seconds=299))
    with pytest.raises(NotSignedIn):
        verifier.identity(token, now + timedelta(seconds=300) + slack)


def letters(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def encoded(part) -> str:
    return letters(json.dumps(part).encode())


def test_a_token_without_a_signature_is_not_believed(verifier, now):
    with pytest.raises(NotSignedIn):
        verifier.identity(f"{encoded({'alg': 'none', 'kid': 'test-key'})}.{encoded(claims('rita', now))}.", now)


def test_the_public_key_is_no_password_for_signing(verifier, now):
    # The classic confusion: HS256 with the published key as secret.
    body = ".".join([encoded({"alg": "HS256", "kid": "test-key"}), encoded(claims("rita", now))])
    mac = hmac.digest(signing_key().as_pem(private=False), body.encode(), "sha256")
    with pytest.raises(NotSignedIn):
        verifier.identity(f"{body}.{letters(mac)}", now)


def test_another_keys_signature_under_a_known_name_is_not_believed(verifier, now):
    other = RSAKey.generate_key(2048)
    token = jwt.encode({"alg": "RS256", "kid": "test-key"}, claims("rita", now), other)
    with pytest.raises(NotSignedIn):
        verifier.identity(token, now)


@pytest.mark.parametrize("header", [{"kid": "unknown"}, {"kid": None}, {"alg": "RS512"}, {"alg": "PS256"}])
def test_a_header_that_is_not_quite_right_is_not_believed(verifier, now, header):
    full = {key: value for key, value in ({"alg": "RS256", "kid": "test-key"} | header).items() if value}
    private = signing_key().as_dict(private=True)
    unbound = RSAKey.import_key({name: value for name, value in private.items() if name not in {"alg", "use", "kid"}})
    token = jwt.encode(full, claims("rita", now), unbound, algorithms=[full["alg"]])
    with pytest.raises(NotSignedIn):
        verifier.identity(token, now)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.é.é", "a" * 20_000, "\x00", "e30.e30.e30"])
def test_rubbish_is_not_believed(verifier, now, token):
    with pytest.raises(NotSignedIn):
        verifier.identity(token, now)


class HandTime:
    """Seconds that a test moves."""

    def __init__(self):
        self.at = 1_000.0

    def __call__(self) -> float:
        return self.at


class Issuer:
    """An issuer whose answers are counted."""

    def __init__(self):
        self.document = issuer_keys()
        self.asked = 0
        self.is_down = False

    def __call__(self):
        self.asked += 1
        if self.is_down:
            raise KeysUnavailable
        return self.document


def test_keys_are_fetched_once_in_ten_minutes():
    issuer, seconds = Issuer(), HandTime()
    keys = IssuerKeys(issuer, monotonic=seconds)
    for _ in range(100):
        assert keys.key("test-key")
    seconds.at += 599
    assert keys.key("test-key")
    assert issuer.asked == 1
    seconds.at += 2
    assert keys.key("test-key")
    assert issuer.asked == 2


def test_an_unknown_key_is_looked_for_at_most_every_thirty_seconds():
    issuer, seconds = Issuer(), HandTime()
    keys = IssuerKeys(issuer, monotonic=seconds)
    assert keys.key("test-key")
    for number in range(100):
        assert keys.key(f"forged-{number}") is None
    assert issuer.asked == 1
    seconds.at += 31
    issuer.document = {"keys": [*issuer.document["keys"], {**issuer.document["keys"][0], "kid": "new"}]}
    assert keys.key("new")
    assert issuer.asked == 2


def test_known_keys_outlive_the_issuer():
    issuer, seconds = Issuer(), HandTime()
    keys = IssuerKeys(issuer, monotonic=seconds)
    assert keys.key("test-key")
    issuer.is_down = True
    seconds.at += 100_000
    assert keys.key("test-key")
    issuer.is_down = False
    issuer.document = {"keys": []}  # a broken answer is no reason to forget either
    seconds.at += 100_000
    assert keys.key("test-key")


def test_without_any_key_the_hub_says_that_the_issuer_is_silent(now):
    issuer, seconds = Issuer(), HandTime()
    issuer.is_down = True
    verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, keys=IssuerKeys(issuer, monotonic=seconds))
    for _ in range(10):
        with pytest.raises(IssuerSilent):
            verifier.identity(sign(claims("rita", now)), now)
    assert issuer.asked == 1
    issuer.is_down = False
    seconds.at += 3
    assert verifier.identity(sign(claims("rita", now)), now)


def test_a_key_that_went_away_is_not_believed_after_the_next_fetch():
    issuer, seconds = Issuer(), HandTime()
    keys = IssuerKeys(issuer, monotonic=seconds)
    assert keys.key("test-key")
    issuer.document = {"keys": [{**issuer.document["keys"][0], "kid": "new"}]}
    seconds.at += 601
    assert keys.key("test-key") is None


def test_keys_for_encryption_and_of_other_kinds_are_passed_over():
    good = issuer_keys()["keys"][0]
    document = {
        "keys": [
            {**good, "kid": "enc", "use": "enc", "alg": "RSA-OAEP"},
            {**good, "kid": "other", "alg": "RS512"},
            {**ECKey.generate_key("P-256").as_dict(private=False), "kid": "ec"},
            {name: value for name, value in good.items() if name != "kid"},
            good,
        ]
    }
    assert set(tokens.read_keys(document)) == {"test-key"}


def test_many_threads_fetch_once_and_a_slow_fetch_holds_up_nobody_who_has_his_key():
    begun, go_on = threading.Event(), threading.Event()
    issuer, seconds = Issuer(), HandTime()

    def slow():
        if issuer.asked:
            begun.set()
            assert go_on.wait(10)
        return issuer()

    keys = IssuerKeys(slow, monotonic=seconds)
    threads = [threading.Thread(target=keys.key, args=("test-key",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert issuer.asked == 1
    seconds.at += 31
    unknown = threading.Thread(target=keys.key, args=("new",))
    unknown.start()
    assert begun.wait(10)
    assert keys.key("test-key")  # while the other still waits
    go_on.set()
    unknown.join(10)
    assert issuer.asked == 2


@pytest.mark.parametrize(
    "key", [ECKey.generate_key("P-256"), RSAKey.generate_key(2048), OKPKey.generate_key("Ed25519")]
)
def test_an_agents_own_token_is_believed(key, now):
    agent_id = uuid4()
    algorithm = tokens.ALGORITHMS[key.key_type][0]
    payload = {
        "iss": str(agent_id),
        "aud": AUDIENCE,
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp()) + 300,
        "jti": "1",
    }
    token = jwt.encode({"alg": algorithm, "kid": str(agent_id)}, payload, key, algorithms=[algorithm])
    assert tokens.agent_of(token) == agent_id
    tokens.check_agent_token(token, key.as_dict(private=False), agent_id=agent_id, now=now)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "elsewhere"},
        {"aud": None},
        {"iss": str(uuid4())},
        {"exp": None},
        {"exp": 1},
        {"iat": None},
        {"iat": 1},
        {"jti": None},
    ],
)
def test_an_agents_token_with_one_wrong_claim_is_not_believed(now, changes):
    key, agent_id = ECKey.generate_key("P-256"), uuid4()
    token = agent_token(str(agent_id), key, now, **changes)
    with pytest.raises(NotSignedIn):
        tokens.check_agent_token(token, key.as_dict(private=False), agent_id=agent_id, now=now)


def test_an_agents_clock_an_hour_off_is_told_from_a_wrong_key(now):
    key, agent_id = ECKey.generate_key("P-256"), uuid4()
    for wrong in (now - timedelta(hours=1), now + timedelta(hours=1)):
        token = agent_token(str(agent_id), key, wrong)
        with pytest.raises(NotSignedIn, match="clock"):
            tokens.check_agent_token(token, key.as_dict(private=False), agent_id=agent_id, now=now)


@pytest.mark.parametrize(
    "key",
    [
        ECKey.generate_key("P-384"),
        ECKey.generate_key("P-256", private=True),
        OctKey.generate_key(256),
    ],
)
def test_a_key_that_is_weak_or_private_or_shared_is_of_no_use(key):
    with pytest.raises(ValueError, match="public JWK"):
        tokens.read_agent_key(key.as_dict(private=True) if isinstance(key, OctKey | ECKey) else key.as_dict())


def test_rubbish_is_no_key():
    for rubbish in ({}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"}, {"kty": 3}):
        with pytest.raises(ValueError):  # noqa: PT011  each library word is fine
            tokens.read_agent_key(rubbish)


def test_a_short_rsa_key_is_of_no_use():
    short = letters((2**1024 - 159).to_bytes(128))
    with pytest.raises(ValueError, match="2048"):
        tokens.read_agent_key({"kty": "RSA", "n": short, "e": "AQAB"})
