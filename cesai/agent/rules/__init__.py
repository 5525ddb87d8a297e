"""What should the agent do next with an attempt?"""

from cesai.agent.rules.after import cancelled, doubtful, refused, released, submitted
from cesai.agent.rules.decide import decide
from cesai.agent.rules.held import (
    Action,
    HeldAttempt,
    Owner,
    Patience,
    Phase,
    Revoke,
    Sighting,
    Step,
    Watch,
)
from cesai.agent.rules.report import report

__all__ = [
    "Action",
    "HeldAttempt",
    "Owner",
    "Patience",
    "Phase",
    "Revoke",
    "Sighting",
    "Step",
    "Watch",
    "cancelled",
    "decide",
    "doubtful",
    "refused",
    "released",
    "report",
    "submitted",
]
