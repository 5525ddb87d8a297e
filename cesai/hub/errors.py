"""Which HTTP status does each kind of no have, and how does it look?

The only table of that sort. Every error is application/problem+json (RFC 9457) whose `detail` says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cesai.access.rules import Forbidden, IssuerSilent, NotSignedIn
from cesai.db.idempotency import InFlight, KeyMissing, KeyReused
from cesai.kernel.errors import CesaiError, NotFound, Refused, Stale

log = logging.getLogger(__name__)

NO_JSON = "json_invalid"
UNIQUE_VIOLATION = "23505"
MEDIA_TYPE = "application/problem+json"
# The first kind in an error's own line of ancestors that stands here decides.
STATUS: Mapping[type[CesaiError], int] = {
    NotSignedIn: 401,
    Forbidden: 403,
    IssuerSilent: 503,
    NotFound: 404,
    KeyMissing: 400,
    KeyReused: 422,
    InFlight: 409,
    Stale: 409,
    Refused: 422,
    CesaiError: 500,
}
HEADERS: Mapping[type[CesaiError], Mapping[str, str]] = {
    NotSignedIn: {"WWW-Authenticate": 'Bearer realm="cesai", error="invalid_token"'},
    InFlight: {"Retry-After": "1"},
    IssuerSilent: {"Retry-After": "10"},
}
_SENTENCES = {
    404: NotFound().sentence,
    405: "This address does not take this method. See /api/v1/openapi.json for what it takes.",
    413: "The request is too large.",
}


def problem(error: CesaiError) -> JSONResponse:
    """The answer that an error is."""
    kind = next(kind for kind in type(error).__mro__ if kind in STATUS)
    return _answer(STATUS[kind], error.sentence, kind=_kebab(kind.__name__), headers=HEADERS.get(kind))


def too_large() -> JSONResponse:
    """The answer to a body beyond the limit."""
    return _answer(413, _SENTENCES[413], kind="content-too-large")


def install(app: FastAPI) -> None:
    """Let every error of this app look the same."""
    app.state.problem = problem
    app.add_exception_handler(CesaiError, _on_cesai_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(IntegrityError, _on_collision)
    app.add_exception_handler(DataError, _on_unstorable)
    app.add_exception_handler(OperationalError, _on_outage)
    app.add_exception_handler(PoolTimeoutError, _on_outage)
    app.add_exception_handler(ClientDisconnect, _on_hung_up)
    app.add_exception_handler(Exception, _on_bug)


async def _on_hung_up(_request: Request, _error: Exception) -> Response:
    """An agent that has news drops its long poll: nobody reads this, and it is no fault of the hub."""
    return Response(status_code=400)


async def _on_cesai_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, CesaiError):
        raise error
    return problem(error)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    fields = [{"field": _field(each), "message": _message(each)} for each in error.errors()]
    first = fields[0] if fields else {"field": "", "message": "not readable"}
    more = f" (and {len(fields) - 1} more)" if len(fields) > 1 else ""
    sentence = f"{first['field'] or 'The request'}: {first['message']}{more}."
    return _answer(422, sentence, kind="invalid-request", errors=fields)


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    status = error.status_code
    sentence = _SENTENCES.get(status) or str(error.detail)
    kind = "not-found" if status == HTTPStatus.NOT_FOUND else _kebab(HTTPStatus(status).phrase.title().replace(" ", ""))
    return _answer(status, sentence, kind=kind, headers=error.headers)


async def _on_collision(_request: Request, error: Exception) -> JSONResponse:
    # Two wishes met at a unique key between look and write. Whoever asks again hears the rule's own no.
    if not (isinstance(error, IntegrityError) and getattr(error.orig, "sqlstate", None) == UNIQUE_VIOLATION):
        raise error
    return problem(Stale("Somebody did the same at this moment. Look again, then decide."))


async def _on_unstorable(request: Request, error: Exception) -> JSONResponse:
    # PostgreSQL's own last word about values: a NUL in a text, a number beyond 64 bits. Schemas should come first.
    log.warning("unstorable value in %s %s: %s", request.method, request.scope.get("path"), type(error).__name__)
    sentence = "A text or number in the request cannot be stored: leave out NUL characters and huge numbers."
    return _answer(422, sentence, kind="invalid-request")


async def _on_outage(request: Request, error: Exception) -> JSONResponse:
    log.warning("no database for %s %s: %s", request.method, request.scope.get("path"), type(error).__name__)
    sentence = "The hub cannot reach its database right now. Send the same request again, with the same key."
    return _answer(503, sentence, kind="unavailable", headers={"Retry-After": "2"})


async def _on_bug(_request: Request, _error: Exception) -> JSONResponse:
    return _answer(500, "The hub made a mistake; it was logged. Nothing was changed. Try again later.", kind="error")


def _answer(
    status: int,
    sentence: str,
    *,
    kind: str,
    errors: Sequence[Mapping[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body: dict[str, Any] = {
        "type": f"urn:cesai:{kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
    }
    if errors is not None:
        body["errors"] = list(errors)
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def _field(error: Mapping[str, Any]) -> str:
    # body, query, path and header are where a field stands, not what it is called.
    return "" if error["type"] == NO_JSON else ".".join(str(part) for part in error["loc"][1:])


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == NO_JSON:
        return f"this is no JSON ({error['ctx']['error']} at character {error['loc'][1]})"
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")


def _kebab(name: str) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")
