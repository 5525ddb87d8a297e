"""How does one wish reach the hub exactly once, over a line that may break?

A POST carries a key that is made once per wish and sent again with every retry, so a lost answer is simply asked for
again. What the hub refuses comes out as the kernel's errors, with the hub's sentence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

import httpx

from cesai.client.exits import BadInput, NoAccess, NotReached, SignInNeeded
from cesai.client.login import spoken
from cesai.client.texts import Texts
from cesai.kernel.errors import CesaiError, NotFound, Refused, Stale

API = "/api/v1"
PAGE = 200
_UNAUTHORIZED = 401
_CONFLICT = 409
_NO_CONTENT = 204
_ERRORS_FROM = 400
_FAILED_FROM = 500
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_LONGEST_WAIT_S = 30.0
_INPUT_ERRORS = frozenset({400, 413, 415, 422})


class Keys(Protocol):
    """Gives access tokens."""

    def token(self) -> str:
        """A good one."""
        ...

    def renew(self, spent: str) -> str:
        """Another one than this."""
        ...


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token from elsewhere, such as a pipeline's secret; it cannot be renewed."""

    value: str

    def token(self) -> str:
        """The token."""
        return self.value

    def renew(self, spent: str) -> str:
        """The same one: there is no other."""
        del spent
        return self.value


class Wire:
    """Sends requests to one hub as one person."""

    def __init__(
        self,
        hub: str,
        *,
        client: httpx.Client,
        keys: Keys | None,
        texts: Texts,
        profile: str = "default",
        waits: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.hub = hub
        self._client = client
        self._keys = keys
        self._texts = texts
        self._profile = profile
        self._waits = waits
        self._sleep = sleep

    def get(self, path: str, params: Mapping[str, object] | None = None, *, is_unwell_an_answer: bool = False) -> Any:  # noqa: ANN401  JSON is anything
        """What stands there; a hub that says it is unwell (503) has answered only where that was asked.

        Raises:
            CesaiError: one of the kinds that `cesai.client.exits` lists.
        """
        return self._ask("GET", path, params=params, final=503 if is_unwell_an_answer else None)

    def pages(self, path: str, params: Mapping[str, object] | None = None) -> Iterator[Any]:
        """Everything of a list, page by page, as it is asked for.

        Raises:
            CesaiError: as get.
        """
        cursor: str | None = None
        while True:
            page = self.get(path, {"limit": PAGE, **(params or {}), "cursor": cursor})
            if isinstance(page, list):
                # A list that is always short comes whole.
                yield from page
                return
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise NotReached(self._texts("strange_answer", hub=self.hub))
            yield from page["items"]
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def post(self, path: str, body: object, *, key: str | None = None) -> Any:  # noqa: ANN401  JSON is anything
        """Carry out one wish, once; the same key again gives the same answer and does nothing more.

        Raises:
            CesaiError: as get.
        """
        return self._ask("POST", path, body=body, headers={"Idempotency-Key": key or uuid4().hex})

    def put(self, path: str, body: object) -> Any:  # noqa: ANN401  JSON is anything
        """Make it so.

        Raises:
            CesaiError: as get.
        """
        return self._ask("PUT", path, body=body)

    def delete(self, path: str) -> None:
        """Take it away.

        Raises:
            CesaiError: as get.
        """
        self._ask("DELETE", path)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        final: int | None = None,
    ) -> Any:  # noqa: ANN401  JSON is anything
        request = {
            "params": {name: value for name, value in (params or {}).items() if value is not None},
            "json": body,
            "headers": dict(headers or {}),
            "final": final,
        }
        token = self._keys.token() if self._keys else None
        answer = self._send(method, path, {**request, "token": token})
        if answer.status_code == _UNAUTHORIZED and self._keys and token:
            fresh = self._keys.renew(token)
            answer = self._send(method, path, {**request, "token": fresh}) if fresh != token else answer
        return self._read(answer, final=final)

    def _send(self, method: str, path: str, request: Mapping[str, Any]) -> httpx.Response:
        headers = {"Accept-Language": self._texts.language, **request["headers"]}
        if request["token"]:
            headers["Authorization"] = f"Bearer {request['token']}"
        for wait in (*self._waits, None):
            try:
                answer = self._client.request(
                    method, self.hub + API + path, params=request["params"], json=request["json"], headers=headers
                )
            except httpx.TransportError as error:
                if wait is None:
                    raise NotReached(self._texts("not_reached", hub=self.hub, reason=spoken(error))) from None
                self._sleep(wait)
                continue
            pause = None if answer.status_code == request["final"] else _pause(answer, wait)
            if pause is None:
                return answer
            self._sleep(pause)
        raise AssertionError  # the last wait is None, and with it every way out is taken

    def _read(self, answer: httpx.Response, *, final: int | None) -> Any:  # noqa: ANN401  JSON is anything
        if answer.status_code >= _ERRORS_FROM and answer.status_code != final:
            raise self._error(answer)
        if answer.status_code == _NO_CONTENT:
            return None
        try:
            return answer.json()
        except ValueError:
            raise NotReached(self._texts("strange_answer", hub=self.hub)) from None

    def _error(self, answer: httpx.Response) -> CesaiError:
        try:
            problem = answer.json()
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            problem = {}
        sentence = _sentence(problem)
        status = answer.status_code
        if status >= _FAILED_FROM:
            return NotReached(sentence or self._texts("hub_failed", hub=self.hub, status=status))
        if status == _UNAUTHORIZED:
            return SignInNeeded(self._texts("token_refused", profile=self._profile))
        if not sentence:
            return NotReached(self._texts("strange_answer", hub=self.hub))
        return _kind(status, is_about_fields=bool(problem.get("errors")))(sentence)


def _kind(status: int, *, is_about_fields: bool) -> type[CesaiError]:
    if status in _INPUT_ERRORS and (is_about_fields or status != 422):  # noqa: PLR2004  without fields a rule said no
        return BadInput
    return {403: NoAccess, 404: NotFound, 409: Stale, 410: Stale}.get(status, Refused)


def _pause(answer: httpx.Response, wait: float | None) -> float | None:
    """How long to wait before the same again; None: this is the answer."""
    told = answer.headers.get("Retry-After", "")
    asks_again = answer.status_code in _TRY_AGAIN or (answer.status_code == _CONFLICT and bool(told))
    if wait is None or not asks_again:
        return None
    return min(float(told), _LONGEST_WAIT_S) if told.isdecimal() else wait


def _sentence(problem: Mapping[str, Any]) -> str:
    said = str(problem.get("detail") or problem.get("title") or "")
    faults = problem.get("errors")
    if not isinstance(faults, list):
        return said
    lines = [_fault(fault) for fault in faults if isinstance(fault, dict)]
    return "\n".join([said, *(f"  {line}" for line in lines)]) if lines else said


def _fault(fault: Mapping[str, Any]) -> str:
    field, message = str(fault.get("field") or ""), str(fault.get("message") or "")
    return f"{field}: {message}" if field else message
