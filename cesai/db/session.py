"""Where does a transaction begin and end? Here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, cast

from fastapi import Depends, Request
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from cesai.kernel.clock import Clock
from cesai.kernel.errors import OnRecord


def make_engine(url: str, *, pool_size: int = 20) -> Engine:
    """An engine for this PostgreSQL address; half as many connections as the web server has threads."""
    return create_engine(url, pool_size=pool_size, max_overflow=pool_size, pool_pre_ping=True)


@contextmanager
def unit_of_work(engine: Engine) -> Iterator[Session]:
    """One transaction: committed at the end, rolled back on any error but one that is on record."""
    refusal: OnRecord | None = None
    with Session(engine, expire_on_commit=False) as db, db.begin():
        try:
            yield db
        except OnRecord as error:
            refusal = error
    if refusal is not None:
        raise refusal


def session(request: Request) -> Iterator[Session]:
    """The request's transaction."""
    with unit_of_work(request.app.state.engine) as db:
        yield db


def now(request: Request) -> datetime:
    """The instant at which the request is taken to happen, UTC."""
    return cast("Clock", request.app.state.clock).now()


# scope="function": committed before the answer leaves, so that a failed commit is never answered with 2xx.
Db = Annotated[Session, Depends(session, scope="function")]
Now = Annotated[datetime, Depends(now)]


_background: dict[str, tuple[Engine, Clock]] = {}


def bind_background(engine: Engine, clock: Clock) -> None:
    """Name the engine and the clock of this process's background work, once, before the first task."""
    _background["bound"] = (engine, clock)


@contextmanager
def background_work() -> Iterator[tuple[Session, datetime]]:
    """One task's transaction, and the instant at which the task is taken to happen."""
    engine, clock = _background["bound"]
    with unit_of_work(engine) as db:
        yield db, clock.now()


def wake(request: Request) -> Callable[[str], None]:
    """Says to the worker, by a task's name, that there is work; a lost wake-up costs time and nothing else."""
    return cast("Callable[[str], None]", getattr(request.app.state, "wake", _nobody_listens))


def _nobody_listens(task: str) -> None:
    """The sweep finds the work of this task by itself."""


# Call it from FastAPI's BackgroundTasks: those run after the commit and after the answer.
Wake = Annotated[Callable[[str], None], Depends(wake)]
