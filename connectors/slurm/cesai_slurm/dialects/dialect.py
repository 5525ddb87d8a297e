"""What is different from one version of slurmrestd's protocol to the next?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from cesai_slurm.rows import HistoryRow, NodeRow, Question, QueueRow, Submission

Body = Mapping[str, Any]


class Dialect(Protocol):
    """Paths, bodies and readers of one version. All pure; readers raise SiteUnavailable for what they cannot read."""

    @property
    def version(self) -> str:
        """As it stands in paths."""
        ...

    @property
    def queue_path(self) -> str:
        """All jobs."""
        ...

    @property
    def nodes_path(self) -> str:
        """All nodes."""
        ...

    @property
    def partitions_path(self) -> str:
        """All partitions."""
        ...

    @property
    def history_path(self) -> str:
        """Jobs in accounting."""
        ...

    @property
    def ping_path(self) -> str:
        """Whether slurmctld answers slurmrestd."""
        ...

    def submission(self, submission: Submission, *, search_path: str) -> Body:
        """The body that submits, held."""
        ...

    def questions(self, question: Question) -> Sequence[Mapping[str, str]]:
        """The queries whose answers together are what was asked of accounting."""
        ...

    def read_queue(self, body: Body) -> tuple[QueueRow, ...]:
        """Jobs as slurmctld has them."""
        ...

    def read_history(self, body: Body) -> tuple[HistoryRow, ...]:
        """Launches as slurmdbd has them, without half-filled rows."""
        ...

    def read_nodes(self, nodes: Body, partitions: Body, *, exclusive: Sequence[str]) -> tuple[NodeRow, ...]:
        """Each node once per partition."""
        ...


def history_query(question: Question, *, instant: str) -> dict[str, str]:
    """What both versions call alike; the instant's form is a format with one field."""
    query = {
        "start_time": instant.format(_seconds(question.since)),
        "end_time": instant.format(_seconds(question.until)),
        "skip_steps": "true",
    }
    if question.names:
        query["job_name"] = ",".join(question.names)
    if question.accounts:
        query["account"] = ",".join(question.accounts)
    return query


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
