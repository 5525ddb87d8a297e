"""What does the hub itself do in the background?"""

from __future__ import annotations

from celery import shared_task

from cesai.db import due, idempotency
from cesai.db.session import background_work

WORKER = "worker"


@shared_task(name="hub.heartbeat", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def heartbeat() -> None:
    """Show that beat, broker, worker and database work together."""
    with background_work() as (db, now):
        due.beat(db, WORKER, now=now)


@shared_task(name="hub.forget_answers", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def forget_answers() -> None:
    """Forget answers to keys that nobody sends again."""
    with background_work() as (db, now):
        idempotency.forget(db, now=now)
