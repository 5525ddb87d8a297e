"""What does the issuer do in the background?"""

from __future__ import annotations

from celery import shared_task

from cesai.db.session import background_work
from cesai.issuer.service import tokens


@shared_task(name="issuer.purge", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def purge() -> None:
    """Forget codes and pages that ended long ago."""
    with background_work() as (db, now):
        tokens.forget(db, now=now)
