"""What does the issuer do in the background?"""

from __future__ import annotations

from datetime import timedelta

from celery import shared_task

from cesai.db.session import background_work
from cesai.issuer import store

KEPT = timedelta(days=1)


@shared_task(name="issuer.purge", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def purge() -> None:
    """Forget codes and pages that ended long ago."""
    with background_work() as (db, now):
        store.purge(db, now=now, kept=KEPT)
