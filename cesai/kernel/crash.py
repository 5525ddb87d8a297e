"""Where can a test kill this process, to show that nothing is lost?"""

from __future__ import annotations

import os
import signal
from enum import StrEnum


class CrashPoint(StrEnum):
    """Every step of the submit protocol after which a kill -9 must lose, double and leak nothing."""

    HUB_SUBMIT_RECEIVED = "hub-submit-received"
    HUB_SUBMIT_COMMITTED = "hub-submit-committed"
    HUB_PLACED = "hub-placed"
    HUB_SYNC_RECEIVED = "hub-sync-received"
    HUB_REPORT_COMMITTED = "hub-report-committed"
    HUB_SETTLED = "hub-settled"
    AGENT_ORDER_RECEIVED = "agent-order-received"
    AGENT_INTENT_JOURNALED = "agent-intent-journaled"
    AGENT_SUBMITTED = "agent-submitted"
    AGENT_ID_JOURNALED = "agent-id-journaled"
    AGENT_READ_BACK = "agent-read-back"
    AGENT_RELEASED = "agent-released"
    AGENT_FENCE_SEEN = "agent-fence-seen"
    AGENT_END_SEEN = "agent-end-seen"
    AGENT_END_JOURNALED = "agent-end-journaled"
    AGENT_USAGE_JOURNALED = "agent-usage-journaled"
    AGENT_REPORTED = "agent-reported"
    AGENT_CANCEL_SENT = "agent-cancel-sent"


_passed: dict[CrashPoint, int] = {}


def reach(point: CrashPoint) -> None:
    """Die here, as by kill -9, when CESAI_CRASH_AT=<name>[:n] names this point (the n-th time, 1 by default)."""
    wish = os.environ.get("CESAI_CRASH_AT")
    if not wish:
        return
    name, _, times = wish.partition(":")
    if name != point:
        return
    _passed[point] = _passed.get(point, 0) + 1
    if _passed[point] == int(times or 1):
        os.kill(os.getpid(), signal.SIGKILL)
