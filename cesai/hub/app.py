"""How do the rooms become one web application?"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Mapping
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine

from cesai.access import routes as access
from cesai.access.tokens import Fetch, IssuerKeys, Verifier
from cesai.db.session import make_engine
from cesai.hub import errors
from cesai.hub.settings import Settings
from cesai.kernel.clock import Clock, SystemClock

KEYS_TIMEOUT_S = 5.0
ROOMS = ("sites", "projects", "allocations", "federation")


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    clock: Clock | None = None,
    fetch_keys: Fetch | None = None,
) -> FastAPI:
    """The hub as one ASGI application."""
    app = FastAPI(title="CESAI hub", version="0.1.0")
    app.state.engine = engine or make_engine(settings.database_url)
    app.state.clock = clock or SystemClock()
    keys = IssuerKeys(fetch_keys or _remote_keys(settings), monotonic=time.monotonic)
    app.state.verifier = Verifier(issuer=settings.issuer, audience=settings.audience, keys=keys)
    errors.install(app)
    app.include_router(access.router, prefix="/api/v1")
    _include_rooms(app)
    return app


def _include_rooms(app: FastAPI) -> None:
    for room in ROOMS:
        if importlib.util.find_spec(f"cesai.{room}.routes") is None:
            continue
        routes = importlib.import_module(f"cesai.{room}.routes")
        app.include_router(routes.router, prefix="/api/v1")
        if hasattr(routes, "agent_router"):
            app.include_router(routes.agent_router)


def _remote_keys(settings: Settings) -> Fetch:
    def fetch() -> Mapping[str, Any]:
        answer = httpx.get(f"{settings.issuer}/protocol/openid-connect/certs", timeout=KEYS_TIMEOUT_S)
        answer.raise_for_status()
        document: Mapping[str, Any] = answer.json()
        return document

    return fetch
