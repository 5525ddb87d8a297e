"""What can be done with jobs: submit, place, cancel, hear of, book, explain?"""

from cesai.federation.service.cancelling import cancel
from cesai.federation.service.logs import LogPart, read_log
from cesai.federation.service.reading import Why, events, job, jobs, why
from cesai.federation.service.rounds import run_round
from cesai.federation.service.submitting import submit
from cesai.federation.service.sweeping import sweep
from cesai.federation.service.syncing import answer, hear, order_revision
from cesai.federation.store import JobFilter, JobView

__all__ = [
    "JobFilter",
    "JobView",
    "LogPart",
    "Why",
    "answer",
    "cancel",
    "events",
    "hear",
    "job",
    "jobs",
    "order_revision",
    "read_log",
    "run_round",
    "submit",
    "sweep",
    "why",
]
