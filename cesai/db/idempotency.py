"""How is one wish carried out once, however often it is sent?

The key of a request is unique per caller and route and bound to its body. The answer, be it yes or no, is stored in
the transaction that did the work and given again to whoever sends the same key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import Depends, Header, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse, Response
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from cesai.db.base import Table
from cesai.db.session import Db, Now
from cesai.kernel.errors import CesaiError, Refused, Stale

KEY_LIMIT = 200
ANSWERS_LAST = timedelta(days=30)
Problem = Callable[[CesaiError], JSONResponse]


class StoredAnswer(Table):
    """What was answered to a key."""

    __tablename__ = "stored_answer"

    principal_id: Mapped[UUID] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    answered_at: Mapped[datetime] = mapped_column(index=True)


class KeyMissing(Refused):
    """A POST came without its key."""


class KeyReused(Refused):
    """The key stands for another body."""


class InFlight(Stale):
    """The same request is being answered right now; ask again in a second."""


async def _body(request: Request) -> bytes:
    return await request.body()


class OnceRunner:
    """Carries out a request's work at most once."""

    def __init__(self, request: Request, db: Session, body: bytes, *, now: datetime, key: str | None) -> None:
        self._request = request
        self._db = db
        self._hash = hashlib.sha256(request.url.path.encode() + b"\0" + body).hexdigest()
        self._now = now
        self._key = key

    def __call__(self, work: Callable[[], object]) -> Response:
        """The answer to this request: the stored one, or that of the work done now.

        Raises:
            KeyMissing: no Idempotency-Key, or one that is too long.
            KeyReused: the key was used with another body.
            InFlight: the same key is being answered now.
        """
        if not self._key or len(self._key) > KEY_LIMIT:
            msg = f"Send an Idempotency-Key header (up to {KEY_LIMIT} characters, new for every wish)."
            raise KeyMissing(msg)
        principal: UUID = self._request.state.principal_id
        route = f"{self._request.method} {self._request.scope['route'].path}"
        self._take_lock(principal, route)
        stored = self._db.get(StoredAnswer, (principal, route, self._key))
        if stored:
            return self._again(stored)
        answer = self._carry_out(work)
        self._db.add(
            StoredAnswer(
                principal_id=principal,
                route=route,
                key=self._key,
                body_hash=self._hash,
                status=answer.status_code,
                body=json.loads(bytes(answer.body)),
                answered_at=self._now,
            )
        )
        return answer

    def _take_lock(self, principal: UUID, route: str) -> None:
        # A second insert would wait for the first to finish; a lock that is taken answers at once.
        digest = hashlib.sha256(f"{principal}\0{route}\0{self._key}".encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        if not self._db.scalar(select(func.pg_try_advisory_xact_lock(number))):
            msg = "The same request is being answered right now. Ask again in a second."
            raise InFlight(msg)

    def _again(self, stored: StoredAnswer) -> Response:
        if stored.body_hash != self._hash:
            msg = "This Idempotency-Key was used with another request. Use a new key for a new wish."
            raise KeyReused(msg)
        kind = "application/problem+json" if stored.status >= 400 else "application/json"  # noqa: PLR2004  where errors begin
        return JSONResponse(stored.body, status_code=stored.status, media_type=kind)

    def _carry_out(self, work: Callable[[], object]) -> JSONResponse:
        try:
            with self._db.begin_nested():
                result = work()
                self._db.flush()
        except CesaiError as error:
            # The refusal is kept although the work is undone: a retry must hear the same no.
            return cast("Problem", self._request.app.state.problem)(error)
        status = self._request.scope["route"].status_code or 200
        return JSONResponse(jsonable_encoder(result), status_code=status)


def once(
    request: Request,
    db: Db,
    body: Annotated[bytes, Depends(_body)],
    now: Now,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> OnceRunner:
    """The runner of this request."""
    return OnceRunner(request, db, body, now=now, key=idempotency_key)


Once = Annotated[OnceRunner, Depends(once)]


def forget(db: Session, *, now: datetime) -> None:
    """Forget answers that are older than any client retries."""
    db.execute(delete(StoredAnswer).where(StoredAnswer.answered_at < now - ANSWERS_LAST))
