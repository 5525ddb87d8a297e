"""What do the protocol and the pages share? Forms, the loopback guard, answers that nobody may keep."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse

from cesai.issuer import rules
from cesai.issuer.rules import Config, Denial, Denied
from cesai.kernel.errors import NotFound

PREFIX = "/realms/cesai"
PROTOCOL = "/protocol/openid-connect"
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
# Everything else that the issuer refuses is a 400.
UNAUTHORIZED = (Denial.UNKNOWN_CLIENT, Denial.WRONG_SECRET, Denial.NO_SERVICE)
FORM_LIMIT = 64 * 1024


def _config(request: Request) -> Config:
    # Bound to loopback is not enough: a page elsewhere whose name was made to point to 127.0.0.1 is another Host.
    server = (request.scope.get("server") or ("127.0.0.1", None))[0]
    if not (rules.is_loopback(server) and rules.is_loopback(request.url.hostname or "")):
        raise NotFound
    return cast("Config", request.app.state.issuer)


IssuerConfig = Annotated[Config, Depends(_config)]


async def _form(request: Request) -> dict[str, str]:
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


Form = Annotated[dict[str, str], Depends(_form)]


async def answer_denied(_request: Request, error: Exception) -> JSONResponse:
    """The answer that a denial is."""
    if not isinstance(error, Denied):
        raise error
    status = 401 if error.denial in UNAUTHORIZED else 400
    body = {"error": error.denial.error, "error_description": error.denial.description}
    return JSONResponse(body, status_code=status, headers=NO_STORE)
