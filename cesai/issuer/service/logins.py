"""How does a person log in, for a client in his browser or for a device that waits?

Every page that is open is a row, tied to the browser that opened it by a cookie: a form that another site makes his
browser send has no row, and does nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.orm import Session

from cesai.issuer import rules, store
from cesai.issuer.rules import AuthRequest, Client, Config, Denial
from cesai.issuer.service import users
from cesai.issuer.tables import CodeRow, DeviceRow, LoginRow, SessionRow

SID_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Browser:
    """The cookies of one browser: which pages are its own, and who is logged in there."""

    pages: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class AskPassword:
    """Show the login page."""

    login_id: str
    client: Client
    is_wrong: bool = False


@dataclass(frozen=True, slots=True)
class AskConsent:
    """Ask whether a device may act for him."""

    login_id: str
    client: Client
    user_code: str
    username: str


@dataclass(frozen=True, slots=True)
class AskUserCode:
    """Ask for the code that the device shows."""

    is_wrong: bool = False


@dataclass(frozen=True, slots=True)
class GoTo:
    """Send the browser on."""

    address: str


@dataclass(frozen=True, slots=True)
class Say:
    """The last page: nothing is left to do here."""

    word: str


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next in this browser; a new session's cookie where somebody logged in."""

    next: AskPassword | AskConsent | AskUserCode | GoTo | Say
    session: str | None = None


def new_browser() -> str:
    """A secret by which a browser is known again."""
    return store.new_secret()


def begin(db: Session, config: Config, request: AuthRequest, *, browser: Browser, now: datetime) -> Step:
    """A client sent a browser here to log in."""
    client = config.clients.get(request.client_id)
    if client is None:
        return Step(Say("unknown_client"))
    if not rules.is_redirect_allowed(request.redirect_uri, client.redirect_uris):
        return Step(Say("wrong_redirect"))
    if denial := rules.check_auth_request(request, client):
        return Step(_refuse(config, request, denial))
    session = None if request.prompt == "login" else live_session(db, config, browser, now=now)
    if session is not None:
        return Step(_issue_code(db, config, request, session=session, now=now))
    if request.prompt == "none":
        return Step(_refuse(config, request, Denial.LOGIN_REQUIRED))
    return Step(AskPassword(_open(db, {"auth": asdict(request)}, browser=browser, now=now), client))


def begin_device(db: Session, config: Config, typed: str | None, *, browser: Browser, now: datetime) -> Step:
    """A person came to let a device in."""
    if typed is None:
        return Step(AskUserCode())
    row = store.device_of_user_code(db, rules.plain_user_code(typed))
    client = config.clients.get(row.client_id) if row else None
    if row is None or client is None or row.is_approved is not None or row.expires_at <= now:
        return Step(AskUserCode(is_wrong=True))
    session = live_session(db, config, browser, now=now)
    login_id = _open(db, {"device": row.user_code}, browser=browser, now=now, session=session)
    if session is None:
        return Step(AskPassword(login_id, client))
    return Step(_consent(db, login_id, row=row, client=client, session=session))


def submit_password(  # one form, four fields
    db: Session, config: Config, login_id: str, *, username: str, password: str, browser: Browser, now: datetime
) -> Step:
    """A person sent the login form. A wrong password shows the page again and says no more than that."""
    row = _own_page(db, login_id, browser=browser, now=now)
    if row is None:
        return Step(Say("page_expired"))
    client_id = row.wish["auth"]["client_id"] if "auth" in row.wish else _device_client(db, row)
    client = config.clients.get(client_id or "")
    if client is None:
        return Step(Say("page_expired"))
    user = users.authenticate(db, username, password, now=now)
    if user is None:
        return Step(AskPassword(login_id, client, is_wrong=True))
    cookie = store.new_secret()
    session = SessionRow(
        sid=store.new_secret()[:SID_LENGTH],
        cookie_hash=store.hash_of(cookie),
        user_id=user.id,
        started_at=now,
        last_used_at=now,
        ended_at=None,
    )
    db.add(session)
    db.flush()
    return Step(_after_login(db, config, row, login_id=login_id, session=session, now=now), session=cookie)


def submit_consent(
    db: Session, config: Config, login_id: str, *, is_accepted: bool, browser: Browser, now: datetime
) -> Step:
    """A person let a device in, or did not."""
    page = _own_page(db, login_id, browser=browser, now=now)
    session = live_session(db, config, browser, now=now)
    row = store.device_of_user_code(db, page.wish.get("device", "")) if page else None
    is_his = page is not None and session is not None and page.sid == session.sid
    if page is None or session is None or not is_his or row is None or row.expires_at <= now:
        return Step(Say("page_expired"))
    db.delete(page)
    row.is_approved = is_accepted
    row.sid = session.sid
    return Step(Say("device_accepted" if is_accepted else "device_denied"))


def live_session(db: Session, config: Config, browser: Browser, *, now: datetime) -> SessionRow | None:
    """The login of this browser, if it still holds."""
    row = store.session_of_cookie(db, browser.session) if browser.session else None
    return row if row and is_live(db, config, row, now=now) else None


def is_live(db: Session, config: Config, session: SessionRow, *, now: datetime) -> bool:
    """Whether a login holds: not ended, not idle for too long, not too old, and its person still let in."""
    return (
        session.ended_at is None
        and now < session.last_used_at + config.idle
        and now < session.started_at + config.longest
        and store.user_by_id(db, session.user_id).is_enabled
    )


def _after_login(
    db: Session, config: Config, row: LoginRow, *, login_id: str, session: SessionRow, now: datetime
) -> AskConsent | GoTo | Say:
    if "auth" in row.wish:
        request = AuthRequest(**row.wish["auth"])
        db.delete(row)
        return _issue_code(db, config, request, session=session, now=now)
    device = store.device_of_user_code(db, row.wish["device"])
    if device is None:
        return Say("page_expired")
    row.sid = session.sid
    return _consent(db, login_id, row=device, client=config.clients[device.client_id], session=session)


def _consent(db: Session, login_id: str, *, row: DeviceRow, client: Client, session: SessionRow) -> AskConsent:
    username = store.user_by_id(db, session.user_id).username
    return AskConsent(login_id, client, user_code=rules.shown_user_code(row.user_code), username=username)


def _device_client(db: Session, row: LoginRow) -> str | None:
    device = store.device_of_user_code(db, row.wish["device"])
    return device.client_id if device else None


def _open(
    db: Session, wish: dict[str, Any], *, browser: Browser, now: datetime, session: SessionRow | None = None
) -> str:
    login_id = store.new_secret()
    db.add(
        LoginRow(
            id_hash=store.hash_of(login_id),
            browser_hash=store.hash_of(browser.pages or ""),
            wish=wish,
            sid=session.sid if session else None,
            expires_at=now + rules.LOGIN_LASTS,
        )
    )
    return login_id


def _own_page(db: Session, login_id: str, *, browser: Browser, now: datetime) -> LoginRow | None:
    row = store.login(db, login_id)
    is_own = row is not None and bool(browser.pages) and row.browser_hash == store.hash_of(browser.pages or "")
    return row if row is not None and is_own and row.expires_at > now else None


def _issue_code(db: Session, config: Config, request: AuthRequest, *, session: SessionRow, now: datetime) -> GoTo:
    code = store.new_secret()
    session.last_used_at = now
    db.add(
        CodeRow(
            code_hash=store.hash_of(code),
            sid=session.sid,
            client_id=request.client_id,
            redirect_uri=request.redirect_uri,
            scope=rules.granted_scope(request.scope),
            nonce=request.nonce,
            challenge=request.code_challenge,
            expires_at=now + rules.CODE_LASTS,
            used_at=None,
            client_session_id=None,
        )
    )
    state = {"state": request.state} if request.state is not None else {}
    return _back(request, state | {"session_state": session.sid, "iss": config.issuer, "code": code})


def _refuse(config: Config, request: AuthRequest, denial: Denial) -> GoTo:
    words = {"error": denial.error}
    if denial.description:
        words["error_description"] = denial.description
    state = {"state": request.state} if request.state is not None else {}
    return _back(request, words | state | {"iss": config.issuer})


def _back(request: AuthRequest, words: dict[str, str]) -> GoTo:
    joint = "&" if "?" in request.redirect_uri else "?"
    return GoTo(f"{request.redirect_uri}{joint}{urlencode(words)}")
