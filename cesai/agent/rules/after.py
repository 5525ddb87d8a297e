"""What is held of an attempt after something was done at the site?"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from cesai.agent.rules.held import HeldAttempt, Revoke


def submitted(held: HeldAttempt, external_id: str) -> HeldAttempt:
    """The site told an id: a claim until a look-up shows it."""
    return replace(held, external_id=external_id)


def doubtful(held: HeldAttempt, sentence: str) -> HeldAttempt:
    """The site gave no usable answer: it may have been accepted."""
    return replace(held, is_unanswered=True, reason=sentence)


def refused(held: HeldAttempt, sentence: str) -> HeldAttempt:
    """The site said clearly no; what earlier tries may have left there is still looked for."""
    return replace(held, revoke=Revoke.REJECT, sentence=sentence, reason=sentence)


def released(held: HeldAttempt, now: datetime) -> HeldAttempt:
    """A release was asked for; whether it took effect is seen, not believed."""
    return replace(held, watch=replace(held.watch, releases=held.watch.releases + 1, released_at=now))


def cancelled(held: HeldAttempt, now: datetime) -> HeldAttempt:
    """A cancel was sent; the proof is a final state."""
    return replace(held, watch=replace(held.watch, cancelled_at=now))
