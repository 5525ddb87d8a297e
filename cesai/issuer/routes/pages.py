"""What does a person see of the issuer? Plain forms that work without JavaScript, in German and English."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cesai.db.session import Db, Now
from cesai.issuer import rules
from cesai.issuer.routes.common import FORM_LIMIT, NO_STORE, PREFIX, PROTOCOL, Form, IssuerConfig
from cesai.issuer.rules import AuthRequest, Client
from cesai.issuer.service import logins, tokens
from cesai.issuer.service.logins import AskConsent, AskPassword, AskUserCode, Browser, GoTo, Say, Step
from cesai.kernel import shipped

PAGES_COOKIE = "CESAI_PAGES"
SESSION_COOKIE = "CESAI_SESSION"
BAD_REQUEST = {"unknown_client", "wrong_redirect", "page_expired"}
router = APIRouter(prefix=PREFIX, include_in_schema=False, tags=["issuer"], max_body_size=FORM_LIMIT)


def _browser(request: Request) -> Browser:
    # Each browser gets a secret of its own before it is shown a form; a form without it is somebody else's.
    pages = request.cookies.get(PAGES_COOKIE) or logins.new_browser()
    return Browser(pages=pages, session=request.cookies.get(SESSION_COOKIE))


ThisBrowser = Annotated[Browser, Depends(_browser)]


@router.get(f"{PROTOCOL}/auth")
def auth(request: Request, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now) -> Response:
    """A client sends a browser here to log in."""
    words = request.query_params
    wish = AuthRequest(
        client_id=words.get("client_id", ""),
        redirect_uri=words.get("redirect_uri", ""),
        response_type=words.get("response_type", ""),
        scope=words.get("scope", ""),
        state=words.get("state"),
        nonce=words.get("nonce"),
        prompt=words.get("prompt"),
        code_challenge=words.get("code_challenge"),
        code_challenge_method=words.get("code_challenge_method"),
    )
    return _show(request, logins.begin(db, config, wish, browser=browser, now=now), browser=browser)


@router.post("/login-actions/authenticate")
def authenticate(
    request: Request, form: Form, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now
) -> Response:
    """Take a name and a password."""
    step = logins.submit_password(
        db,
        config,
        form.get("login", ""),
        username=form.get("username", "").strip(),
        password=form.get("password", ""),
        browser=browser,
        now=now,
    )
    return _show(request, step, browser=browser)


@router.get("/device")
def device(
    request: Request, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now, user_code: str | None = None
) -> Response:
    """A person lets a device in."""
    return _show(request, logins.begin_device(db, config, user_code, browser=browser, now=now), browser=browser)


@router.post("/login-actions/consent")
def consent(request: Request, form: Form, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now) -> Response:
    """Take a person's yes or no."""
    step = logins.submit_consent(
        db, config, form.get("login", ""), is_accepted=form.get("answer") == "yes", browser=browser, now=now
    )
    return _show(request, step, browser=browser)


@router.get(f"{PROTOCOL}/logout")
def log_out(request: Request, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now) -> Response:
    """End a login: at once for a client that shows an id token, else after asking."""
    words = request.query_params
    hint = words.get("id_token_hint")
    if hint is None:
        return _page(request, "logout.html", browser=browser)
    client = tokens.log_out(db, config, id_token_hint=hint, now=now)
    back = _after_logout(client, words.get("post_logout_redirect_uri"), words.get("state"))
    step = Step(GoTo(back) if back else Say("logged_out" if client else "wrong_hint"))
    answer = _show(request, step, browser=browser)
    answer.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return answer


def _after_logout(client: Client | None, wanted: str | None, state: str | None) -> str | None:
    if client is None or wanted is None or wanted not in client.post_logout_uris:
        return None
    return f"{wanted}?{urlencode({'state': state})}" if state is not None else wanted


@router.post("/login-actions/logout")
def log_out_here(request: Request, config: IssuerConfig, db: Db, browser: ThisBrowser, now: Now) -> Response:
    """End the login of this browser. Who makes another's browser send this form ends a login and gains nothing."""
    tokens.log_out_browser(db, browser, now=now)
    answer = _show(request, Step(Say("logged_out")), browser=browser)
    answer.delete_cookie(SESSION_COOKIE, path=PREFIX)
    return answer


def _show(request: Request, step: Step, *, browser: Browser) -> Response:
    match step.next:
        case GoTo(address):
            answer: Response = RedirectResponse(address, status_code=302, headers=NO_STORE)
        case AskPassword():
            answer = _page(request, "login.html", browser=browser, step=step.next)
        case AskConsent():
            answer = _page(request, "consent.html", browser=browser, step=step.next)
        case AskUserCode():
            answer = _page(request, "device.html", browser=browser, step=step.next)
        case Say(word):
            status = 400 if word in BAD_REQUEST else 200
            answer = _page(request, "say.html", browser=browser, word=word, status=status)
    if step.session is not None:
        _set_cookie(request, answer, SESSION_COOKIE, step.session)
    return answer


def _page(request: Request, name: str, *, browser: Browser, status: int = 200, **values: Any) -> HTMLResponse:  # noqa: ANN401  what the template shows
    nonce = secrets.token_urlsafe(16)
    lang = rules.language(request.headers.get("accept-language", ""))
    html = _templates().get_template(f"issuer/{name}").render(lang=lang, nonce=nonce, base=PREFIX, **values)
    answer = HTMLResponse(html, status_code=status, headers=NO_STORE | _guards(nonce) | {"Content-Language": lang})
    _set_cookie(request, answer, PAGES_COOKIE, browser.pages or "")
    return answer


def _guards(nonce: str) -> dict[str, str]:
    # No form-action: browsers apply it to the redirect after the login too, and that leads to the client.
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'"
    return {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def _set_cookie(request: Request, answer: Response, name: str, value: str) -> None:
    answer.set_cookie(
        name, value, path=PREFIX, httponly=True, samesite="lax", secure=urlsplit(str(request.url)).scheme == "https"
    )


@cache
def _templates() -> Environment:
    loader = FileSystemLoader(shipped.folder("dashboards") / "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
