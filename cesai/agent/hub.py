"""How does the agent speak to the hub? Outbound only; the hub's answers are checked before they are used."""

from __future__ import annotations

import logging
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Self

import httpx
from pydantic import ValidationError

from cesai.agent.identity import Signer
from cesai.contract.messages import EnrolReply, EnrolRequest, SyncReply, SyncRequest
from cesai.kernel.clock import Clock

log = logging.getLogger(__name__)

CONNECT_S = 10.0
TRUSTED_SKEW_S = 20
ANSWER_S = 20.0  # beyond the time that the hub was asked to wait
_LONGEST_SENTENCE = 500
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
# What another try does not change. Everything else may pass: a proxy's page, an upgrade, a record that is too much.
_FINAL_STATUS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.GONE})
_STALE = "urn:cesai:stale"
_FINAL_KINDS = frozenset({_STALE, "urn:cesai:refused"})


class HubSilent(Exception):
    """No usable answer; the same is asked again later."""


class HubRefused(Exception):
    """The hub said no, and asking again will not change that."""

    def __init__(self, status: int, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.kind, self.sentence = status, kind, sentence

    @property
    def is_stale(self) -> bool:
        """The hub has seen a later request of this agent."""
        return self.kind == _STALE


class Hub:
    """A door to one hub."""

    def __init__(
        self, url: str, *, clock: Clock, ca_file: Path | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._clock = clock
        self._offset = timedelta()
        self._client = httpx.AsyncClient(
            base_url=url,
            transport=transport,
            verify=str(ca_file) if ca_file else True,
            trust_env=httpx.URL(url).host not in _LOOPBACK,  # no proxy stands before this machine itself
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def offset(self) -> timedelta:
        """How far the hub's clock is ahead of ours, as last heard."""
        return self._offset

    async def enrol(self, request: EnrolRequest) -> EnrolReply:
        """Show the one-time token and the public key.

        Raises:
            HubRefused: the token is wrong, used or too old.
            HubSilent: no usable answer.
        """
        response = await self._post("/agent/v1/enrol", request.model_dump_json(), headers={}, wait_s=0)
        try:
            return EnrolReply.model_validate_json(response.content)
        except ValidationError as error:
            msg = f"the hub's answer cannot be read: {error.error_count()} fields are wrong"
            raise HubSilent(msg) from error

    async def sync(self, request: SyncRequest, signer: Signer) -> SyncReply:
        """Tell what is held, hear what should be held.

        Raises:
            HubRefused: this agent is not, or no longer, the site's.
            HubSilent: no usable answer; what was told may have been heard.
        """
        body = request.model_dump_json()
        try:
            response = await self._sync(body, signer, wait_s=request.wait_seconds)
        except HubRefused as refusal:
            # A token is good for minutes: with a clock that is far off it must be made by the hub's time.
            if refusal.status != HTTPStatus.UNAUTHORIZED or not self._is_clock_off():
                raise
            log.warning("the clock here is %.0f s off the hub's; signing by the hub's", -self._offset.total_seconds())
            response = await self._sync(body, signer, wait_s=request.wait_seconds)
        try:
            return SyncReply.model_validate_json(response.content)
        except ValidationError as error:
            msg = f"the hub's answer cannot be read: {error.error_count()} fields are wrong"
            raise HubSilent(msg) from error

    async def health(self) -> dict[str, object]:
        """What the hub says of itself.

        Raises:
            HubSilent: no usable answer.
            HubRefused: there is no hub at this address.
        """
        try:
            response = await self._client.get("/api/v1/health")
        except httpx.HTTPError as error:
            raise HubSilent(_why(error)) from error
        self._checked(response)
        try:
            return dict(response.json())
        except ValueError as error:
            msg = "the answer is no JSON; is this the hub's address?"
            raise HubSilent(msg) from error

    async def _sync(self, body: str, signer: Signer, *, wait_s: float) -> httpx.Response:
        token = signer.token(self._clock.now() + self._signing_offset())
        return await self._post("/agent/v1/sync", body, headers={"Authorization": f"Bearer {token}"}, wait_s=wait_s)

    async def _post(self, path: str, body: str, *, headers: dict[str, str], wait_s: float) -> httpx.Response:
        try:
            response = await self._client.post(
                path,
                content=body,
                headers={"Content-Type": "application/json", **headers},
                timeout=httpx.Timeout(ANSWER_S + wait_s, connect=CONNECT_S),
            )
        except httpx.HTTPError as error:
            raise HubSilent(_why(error)) from error
        return self._checked(response)

    def _checked(self, response: httpx.Response) -> httpx.Response:
        self._hear_clock(response)
        if response.is_success:
            return response
        kind, sentence = _problem(response)
        if response.status_code in _FINAL_STATUS or kind in _FINAL_KINDS:
            raise HubRefused(response.status_code, kind, sentence)
        msg = f"the hub answered {response.status_code}: {sentence}"
        raise HubSilent(msg)

    def _hear_clock(self, response: httpx.Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError):
            return
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        self._offset = told - self._clock.now()

    def _is_clock_off(self) -> bool:
        return abs(self._offset) > timedelta(seconds=TRUSTED_SKEW_S)

    def _signing_offset(self) -> timedelta:
        return self._offset if self._is_clock_off() else timedelta()


def _why(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _problem(response: httpx.Response) -> tuple[str, str]:
    """Kind and sentence of a problem+json answer, or of whatever else answered."""
    try:
        content = response.json()
        return str(content["type"]), str(content["detail"])[:_LONGEST_SENTENCE]
    except (ValueError, KeyError, TypeError):
        return "", f"status {response.status_code} without a reason; is this the hub's address?"
