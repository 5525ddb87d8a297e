"""What do Slurm's words for a job's state mean?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cesai.contract.connector import SiteState

# Source: squeue(1) and sacct(1) of 22.05 and 24.11, JOB STATE CODES.
_STATES = {
    "PENDING": SiteState.PENDING,
    "REQUEUED": SiteState.PENDING,
    "REQUEUE_FED": SiteState.PENDING,
    "REQUEUE_HOLD": SiteState.HELD,
    "SPECIAL_EXIT": SiteState.HELD,
    "CONFIGURING": SiteState.RUNNING,
    "RUNNING": SiteState.RUNNING,
    "RESIZING": SiteState.RUNNING,
    "SIGNALING": SiteState.RUNNING,
    "SUSPENDED": SiteState.SUSPENDED,
    "STOPPED": SiteState.SUSPENDED,
    "COMPLETING": SiteState.ENDING,
    "STAGE_OUT": SiteState.ENDING,
    "COMPLETED": SiteState.COMPLETED,
    "FAILED": SiteState.FAILED,
    "GETENV_FAILED": SiteState.FAILED,
    "LAUNCH_FAILED": SiteState.NODE_FAIL,
    "TIMEOUT": SiteState.TIMEOUT,
    "DEADLINE": SiteState.CANCELLED,
    "CANCELLED": SiteState.CANCELLED,
    "OUT_OF_MEMORY": SiteState.OUT_OF_MEMORY,
    "NODE_FAIL": SiteState.NODE_FAIL,
    "BOOT_FAIL": SiteState.NODE_FAIL,
    "PREEMPTED": SiteState.PREEMPTED,
}
# A job can have several words at once ("COMPLETED" and "COMPLETING"): the one that says most about now comes first.
_STRONGEST = ("COMPLETING", "STAGE_OUT", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING", "STOPPED", "REQUEUED")

# A hold of our own reads JobHeldUser, or JobHeldAdmin when an operator's account submits. The other two follow a
# failed launch: the job did not run, and a release tries again.
_HELD = frozenset({"JobHeldUser", "JobHeldAdmin", "launch_failed_requeued_held", "job_requeued_in_held_state"})

# What no waiting will change. PartitionNodeLimit and ReqNodeNotAvail are left out on purpose: Slurm says them of nodes
# that are down for a while, too.
_IMPOSSIBLE = frozenset(
    {
        "BadConstraints",
        "PartitionTimeLimit",
        "PartitionConfig",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "AccountNotAllowed",
        "QOSNotAllowed",
    }
)
# AssocMaxWallDurationPerJobLimit, QOSMaxGRESPerJob, QOSMaxGRESMinutesPerJob … : the job alone is over a limit.
_OVER_A_LIMIT = re.compile(r"(?:Assoc|QOS)Max\w*Per(?:Job|Node)(?:Limit)?")


def strongest(words: Sequence[str]) -> str:
    """The one word for a job that has several."""
    for word in _STRONGEST:
        if word in words:
            return word
    return words[0] if words else "UNKNOWN"


def site_state(native: str, reason: str) -> SiteState:
    """The contract's word for Slurm's; "CANCELLED by 0" and unknown words included."""
    state = _STATES.get(native.split(" ", maxsplit=1)[0].rstrip("+"), SiteState.UNKNOWN)
    if state is not SiteState.PENDING:
        return state
    plain = reason.replace(" ", "_")
    if plain in _HELD:
        return SiteState.HELD
    if plain in _IMPOSSIBLE or _OVER_A_LIMIT.fullmatch(plain):
        return SiteState.IMPOSSIBLE
    return state
