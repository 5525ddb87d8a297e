"""How do the rooms become one web application?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from cesai.access import routes as access
from cesai.access.tokens import Fetch, IssuerKeys, KeysUnavailable, Verifier
from cesai.allocations import routes as allocations
from cesai.db.session import bind_background, make_engine, unit_of_work
from cesai.federation import routes as federation
from cesai.hub import errors, routes
from cesai.hub import settings as rules
from cesai.hub.limits import BodyLimit
from cesai.hub.settings import Settings
from cesai.hub.worker import Embedded, Waker, make_celery
from cesai.issuer import routes as issuer
from cesai.issuer.rules import Config, Denied
from cesai.issuer.schemas import SeedFile, default_clients
from cesai.issuer.service import keys, users
from cesai.kernel.clock import Clock, SystemClock
from cesai.projects import routes as projects
from cesai.sites import routes as sites

API = "/api/v1"
KEYS_TIMEOUT_S = 5.0
STOP_PATIENCE_S = 1.0
DESCRIPTION = """One place that coordinates national compute for sovereign AI models.

Errors are `application/problem+json`; their `detail` says what to do. Every POST of people and programs takes an
`Idempotency-Key`: the same key and body get the same answer, and the work is done once. Lists are read page by page:
send `next_cursor` as `cursor` until it is null."""
TAGS = [
    {"name": "sites", "description": "Sites, their agents, what they have and what they promise"},
    {"name": "projects", "description": "Projects and their members"},
    {"name": "allocations", "description": "Pledges, awards and the ledger of GPU time"},
    {"name": "federation", "description": "Jobs and where they run"},
    {"name": "agent", "description": "What a site's agent says and hears"},
    {"name": "access", "description": "Who somebody is and what he may do"},
    {"name": "hub", "description": "How the hub is"},
]
ROOMS = (sites.router, projects.router, allocations.router, federation.router, access.router, routes.router)
ELSEWHERE = (sites.agent_router, federation.agent_router, routes.well_known_router)


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    clock: Clock | None = None,
    fetch_keys: Fetch | None = None,
) -> FastAPI:
    """The hub as one ASGI application. Its background work starts and ends with it (ASGI lifespan).

    Raises:
        Unfit: the settings do not go together.
    """
    rules.check(settings)
    app = _described()
    app.state.settings = settings
    app.state.engine = engine or make_engine(settings.database_url, pool_size=settings.pool_size)
    app.state.clock = clock or SystemClock()
    app.state.is_stopping = lambda: False
    app.state.celery = make_celery(settings)
    app.state.wake = Waker(app.state.celery, is_embedded=settings.has_own_broker)
    app.state.verifier = make_verifier(app, settings, fetch_keys)
    app.add_middleware(BodyLimit, limit_bytes=settings.body_limit_bytes)
    errors.install(app)
    _include_rooms(app)
    if settings.has_own_issuer:
        _include_issuer(app, settings)
    return app


def _described() -> FastAPI:
    return FastAPI(
        title="CESAI hub",
        version=version("cesai"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        lifespan=_lifespan,
    )


def from_environment() -> FastAPI:
    """The app as the environment sets it; for servers that start several processes."""
    return create_app(Settings())


def _operation_id(route: APIRoute) -> str:
    """Stable whatever a path becomes: the room and the function."""
    return f"{route.endpoint.__module__.split('.')[1]}-{route.endpoint.__name__}".replace("_", "-")


def _include_rooms(app: FastAPI) -> None:
    for room in ROOMS:
        app.include_router(room, prefix=API)
    for elsewhere in ELSEWHERE:
        app.include_router(elsewhere)


def _include_issuer(app: FastAPI, settings: Settings) -> None:
    file = SeedFile.read(settings.issuer_users_file) if settings.issuer_users_file else SeedFile()
    clients = (*default_clients(settings.public_url), *(each.to_rule() for each in file.clients))
    app.state.issuer_users = tuple(each.to_seed() for each in file.users)
    app.state.issuer = Config(
        issuer=settings.issuer,
        clients={each.client_id: each for each in clients},
        idle=timedelta(minutes=settings.issuer_idle_minutes),
        longest=timedelta(hours=settings.issuer_longest_hours),
        audience=settings.audience,
    )
    for router in issuer.routers:
        app.include_router(router)
    app.add_exception_handler(Denied, issuer.answer_denied)


def make_verifier(app: FastAPI, settings: Settings, fetch_keys: Fetch | None = None) -> Verifier:
    """Who believes the tokens that this hub takes."""
    # The embedded issuer's keys come from the table: asking ourselves over HTTP, with every thread waiting for the
    # answer, would leave none to give it.
    own = _own_keys(app) if settings.has_own_issuer else _remote_keys(settings)
    keys = IssuerKeys(fetch_keys or own, monotonic=time.monotonic)
    return Verifier(issuer=settings.issuer, audience=settings.audience, keys=keys)


def _own_keys(app: FastAPI) -> Fetch:
    def fetch() -> Mapping[str, Any]:
        with unit_of_work(app.state.engine) as db:
            return keys.public_keys(db)

    return fetch


def _remote_keys(settings: Settings) -> Fetch:
    def fetch() -> Mapping[str, Any]:
        try:
            answer = httpx.get(f"{settings.issuer}/protocol/openid-connect/certs", timeout=KEYS_TIMEOUT_S)
            answer.raise_for_status()
            document: Mapping[str, Any] = answer.json()
        except httpx.HTTPError as error:
            raise KeysUnavailable from error
        return document

    return fetch


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    embedded = await run_in_threadpool(_start, app)
    yield
    if embedded is not None:
        await run_in_threadpool(lambda: embedded.stop(patience_s=STOP_PATIENCE_S))
    app.state.engine.dispose()


def prepare(app: FastAPI) -> None:
    """Give the embedded issuer its key and its people; again changes nothing."""
    if app.state.settings.has_own_issuer:
        with unit_of_work(app.state.engine) as db:
            keys.ensure_key(db, now=app.state.clock.now())
            users.seed(db, app.state.issuer_users, now=app.state.clock.now())


def _start(app: FastAPI) -> Embedded | None:
    prepare(app)
    bind_background(app.state.engine, app.state.clock)
    if not app.state.settings.has_own_broker:
        return None
    return Embedded.start(app.state.celery, app.state.engine, app.state.clock)
