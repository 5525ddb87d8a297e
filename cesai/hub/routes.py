"""Is the hub well, and whose tokens does it take?"""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import Any, cast

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import OperationalError

from cesai.access.callers import Anyone, guarded_router
from cesai.db import due
from cesai.db.session import Now, unit_of_work
from cesai.hub.settings import Settings
from cesai.hub.tasks import WORKER
from cesai.hub.worker import BEAT

router = guarded_router(tags=["hub"])
well_known_router = guarded_router(tags=["hub"])


class HealthOut(BaseModel):
    """How the hub is."""

    model_config = ConfigDict(frozen=True)

    status: str
    version: str
    database: str
    beat_age_s: float | None
    worker_age_s: float | None


@router.get("/health", responses={503: {"model": HealthOut, "description": "Something that must go on does not"}})
def health(request: Request, response: Response, caller: Anyone, now: Now) -> HealthOut:
    """Tell whether the database answers and the background work goes on; 503 when not."""
    settings = cast("Settings", request.app.state.settings)
    try:
        # A transaction of its own: this route must answer when the database does not.
        with unit_of_work(request.app.state.engine) as db:
            ages = [_age(due.last_beat(db, name), now) for name in (BEAT, WORKER)]
        database = "ok"
    except OperationalError:
        ages, database = [None, None], "down"
    is_well = all(age is not None and age <= settings.beat_patience_s for age in ages)
    response.status_code = 200 if is_well else 503
    return HealthOut(
        status="ok" if is_well else "unwell",
        version=version("cesai"),
        database=database,
        beat_age_s=ages[0],
        worker_age_s=ages[1],
    )


def _age(at: datetime | None, now: datetime) -> float | None:
    return None if at is None else max((now - at).total_seconds(), 0.0)


@well_known_router.get("/.well-known/oauth-protected-resource")
def protected_resource(request: Request, caller: Anyone) -> dict[str, Any]:
    """Tell a client where its tokens come from (RFC 9728)."""
    settings = cast("Settings", request.app.state.settings)
    return {
        "resource": settings.public_url,
        "authorization_servers": [settings.issuer],
        "bearer_methods_supported": ["header"],
    }
