"""How does a person sign in from a shell, and stay signed in? Device flow, then refresh with rotation.

Source: RFC 8628 (device flow), RFC 9728 (which login server a hub trusts), OpenID Connect Discovery 1.0.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from cesai.client.addresses import refuse_plain
from cesai.client.exits import BadInput, NotReached, SignInNeeded
from cesai.client.profiles import Profile, Profiles, Tokens
from cesai.client.texts import Texts

CLIENT_ID = "cesai-cli"
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_S = 5
_OK = 200
_CLIENT_ERRORS = range(400, 500)
# A token that ends while the request is on its way helps nobody.
_SPARE_S = 30


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What the person confirms in a browser."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class LoginServer:
    """Speaks to the issuer that a hub trusts."""

    def __init__(self, issuer: str, *, client: httpx.Client, texts: Texts) -> None:
        refuse_plain(issuer, texts)
        self.issuer = issuer
        self._client = client
        self._texts = texts
        self._found: dict[str, Any] | None = None

    def start(self) -> DeviceCode:
        """Ask for a code that a person confirms.

        Raises:
            NotReached: no usable answer.
            SignInNeeded: the server offers no such login.
        """
        answer = self._post("device_authorization_endpoint", {"scope": "openid"})
        body = _table(answer)
        if answer.status_code != _OK or "device_code" not in body:
            raise SignInNeeded(self._texts("login_refused", reason=_reason(body, answer)))
        page = str(body["verification_uri"])
        return DeviceCode(
            device_code=str(body["device_code"]),
            user_code=str(body["user_code"]),
            verification_uri=page,
            verification_uri_complete=str(body.get("verification_uri_complete") or page),
            expires_in=int(body.get("expires_in", 600)),
            interval=int(body.get("interval", 5)),
        )

    def wait(self, code: DeviceCode, *, sleep: Callable[[float], None] = time.sleep) -> Tokens:
        """The tokens, once the person has confirmed.

        Raises:
            SignInNeeded: denied, or not confirmed in time.
            NotReached: no usable answer.
        """
        interval, ends = code.interval, time.monotonic() + code.expires_in
        while time.monotonic() < ends:
            sleep(interval)
            answer = self._post("token_endpoint", {"grant_type": _DEVICE_GRANT, "device_code": code.device_code})
            body = _table(answer)
            if answer.status_code == _OK:
                return _tokens(body)
            error = body.get("error")
            if error == "slow_down":
                interval += _SLOWER_S
            elif error == "access_denied":
                raise SignInNeeded(self._texts("login_denied"))
            elif error == "expired_token":
                break
            elif error != "authorization_pending":
                raise SignInNeeded(self._texts("login_refused", reason=_reason(body, answer)))
        raise SignInNeeded(self._texts("login_expired"))

    def refresh(self, profile: Profile, refresh_token: str) -> Tokens:
        """Fresh tokens for an old refresh token, which is spent by this. Never repeated by itself.

        Raises:
            SignInNeeded: the login is over.
            NotReached: no usable answer.
        """
        answer = self._post("token_endpoint", {"grant_type": "refresh_token", "refresh_token": refresh_token})
        body = _table(answer)
        if answer.status_code == _OK:
            return _tokens(body)
        if answer.status_code in _CLIENT_ERRORS:
            reason = _reason(body, answer)
            raise SignInNeeded(self._texts("session_over", profile=profile.name, reason=reason))
        raise NotReached(self._texts("hub_failed", hub=self.issuer, status=answer.status_code))

    def end(self, refresh_token: str) -> None:
        """Tell the server that this login is over.

        Raises:
            NotReached: it was not heard.
        """
        answer = self._post("end_session_endpoint", {"refresh_token": refresh_token})
        if answer.status_code not in {_OK, 204}:
            raise NotReached(_reason(_table(answer), answer))

    def _post(self, endpoint: str, form: dict[str, str]) -> httpx.Response:
        address = self._endpoint(endpoint)
        try:
            return self._client.post(address, data={"client_id": CLIENT_ID, **form})
        except httpx.HTTPError as error:
            raise NotReached(self._texts("not_reached", hub=self.issuer, reason=spoken(error))) from None

    def _endpoint(self, name: str) -> str:
        if self._found is None:
            self._found = self._discover()
        address = self._found.get(name)
        if not address:
            raise SignInNeeded(self._texts("no_device_login", issuer=self.issuer))
        refuse_plain(str(address), self._texts)
        return str(address)

    def _discover(self) -> dict[str, Any]:
        try:
            answer = self._client.get(f"{self.issuer}/.well-known/openid-configuration")
        except httpx.HTTPError as error:
            raise NotReached(self._texts("not_reached", hub=self.issuer, reason=spoken(error))) from None
        found = _table(answer)
        if answer.status_code != _OK or not found:
            raise NotReached(self._texts("hub_failed", hub=self.issuer, status=answer.status_code))
        # Another name in the document than in its address: tokens of one server could be asked of another.
        if found.get("issuer") != self.issuer:
            raise BadInput(self._texts("wrong_issuer", asked=self.issuer, named=found.get("issuer")))
        return found


def issuer_of(hub: str, *, client: httpx.Client, texts: Texts) -> str:
    """The login server that this hub trusts; a hub that names none carries its own.

    Raises:
        NotReached: the hub gave no usable answer.
    """
    try:
        answer = client.get(f"{hub}/.well-known/oauth-protected-resource")
    except httpx.HTTPError as error:
        raise NotReached(texts("not_reached", hub=hub, reason=spoken(error))) from None
    servers = _table(answer).get("authorization_servers") if answer.status_code == _OK else None
    if isinstance(servers, list) and servers:
        return str(servers[0]).rstrip("/")
    return f"{hub}/realms/cesai"


class Keyring:
    """Gives the access token of one profile, fresh, to however many processes ask."""

    def __init__(self, profiles: Profiles, profile: Profile, *, server: LoginServer, texts: Texts) -> None:
        self._profiles = profiles
        self._profile = profile
        self._server = server
        self._texts = texts

    def token(self) -> str:
        """An access token that is good for a while.

        Raises:
            SignInNeeded: nobody is signed in, or no longer.
            NotReached: the login server gave no usable answer.
        """
        tokens = self._profile.tokens
        if tokens and tokens.expires_at - _SPARE_S > time.time():
            return tokens.access_token
        return self.renew(tokens.access_token if tokens else "")

    def renew(self, spent: str) -> str:
        """Another token than this one, which is spent. Two at once would end the login: one at a time, by a lock.

        Raises:
            SignInNeeded: nobody is signed in, or no longer.
            NotReached: the login server gave no usable answer.
        """
        with self._profiles.locked(self._profile.name):
            profile = self._profiles.find(self._profile.name) or self._profile
            tokens = profile.tokens
            if tokens is None:
                raise SignInNeeded(self._texts("not_signed_in", profile=profile.name))
            fresh = tokens.access_token != spent and tokens.expires_at - _SPARE_S > time.time()
            if not fresh:
                if tokens.refresh_token is None:
                    raise SignInNeeded(self._texts("session_over", profile=profile.name, reason="expired"))
                tokens = self._server.refresh(profile, tokens.refresh_token)
            self._profile = profile.model_copy(update={"tokens": tokens})
            if not fresh:
                self._profiles.save(self._profile)
        return tokens.access_token


def spoken(error: httpx.HTTPError) -> str:
    """What went wrong on the way, in a word or two."""
    if isinstance(error, httpx.TimeoutException):
        return "time-out"
    return str(error) or type(error).__name__


def _tokens(body: dict[str, Any]) -> Tokens:
    return Tokens(
        access_token=str(body["access_token"]),
        refresh_token=body.get("refresh_token"),
        expires_at=time.time() + float(body.get("expires_in", 60)),
    )


def _table(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(body: dict[str, Any], answer: httpx.Response) -> str:
    return str(body.get("error_description") or body.get("error") or f"HTTP {answer.status_code}")
