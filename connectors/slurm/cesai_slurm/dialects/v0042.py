"""How does slurmrestd of Slurm 24.11 and newer speak (v0.0.42)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cesai_slurm import words
from cesai_slurm.dialects import fields
from cesai_slurm.dialects.dialect import Body, history_query
from cesai_slurm.rows import HistoryRow, NodeRow, Question, QueueRow, Submission
from cesai_slurm.states import strongest

# Of a job that goes on, accounting's `end` is the moment of the question.
_GOING_ON = frozenset({"PENDING", "RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING", "STAGE_OUT", "STOPPED"})


class V0042:
    """Numbers as {set, infinite, number}, several words per state, environment as a list."""

    version = "v0.0.42"
    queue_path = "/slurm/v0.0.42/jobs/"
    nodes_path = "/slurm/v0.0.42/nodes/"
    partitions_path = "/slurm/v0.0.42/partitions/"
    history_path = "/slurmdb/v0.0.42/jobs/"
    ping_path = "/slurm/v0.0.42/ping/"

    def submission(self, submission: Submission, *, search_path: str) -> Body:
        """The body that submits, held; `argv` would lose its first word."""
        return {
            "job": {
                "script": submission.wrapper,
                "name": submission.marker,
                "comment": submission.marker,
                "account": submission.account,
                "partition": submission.partition,
                "minimum_nodes": submission.nodes,
                "maximum_nodes": submission.nodes,
                "tasks": submission.nodes * submission.tasks_per_node,
                "tasks_per_node": submission.tasks_per_node,
                "tres_per_node": f"gres/{submission.gres}",
                "time_limit": {"set": True, "infinite": False, "number": submission.walltime_minutes},
                "current_working_directory": submission.folder,
                "standard_output": submission.output,
                "open_mode": ["APPEND"],
                "hold": True,
                "requeue": False,
                "environment": [f"PATH={search_path}"],
            },
        }

    def questions(self, question: Question) -> Sequence[Mapping[str, str]]:
        """Without a state a job that was cancelled while it was held is left out; with one the others are."""
        query = {**history_query(question, instant="{}"), "show_duplicates": "true"}
        return (query, {**query, "state": "CANCELLED"})

    def read_queue(self, body: Body) -> tuple[QueueRow, ...]:
        """Jobs as slurmctld has them."""
        return tuple(_queue_row(job) for job in fields.tables(body, "jobs"))

    def read_history(self, body: Body) -> tuple[HistoryRow, ...]:
        """Launches as slurmdbd has them."""
        return tuple(_history_row(job) for job in fields.tables(body, "jobs") if fields.text(job, "partition"))

    def read_nodes(self, nodes: Body, partitions: Body, *, exclusive: Sequence[str]) -> tuple[NodeRow, ...]:
        """Whole nodes are given where no sharing is allowed at all, and where the settings say so."""
        known = {fields.text(one, "name"): one for one in fields.tables(partitions, "partitions")}
        return tuple(
            _node_row(node, known[name], exclusive=exclusive)
            for node in fields.tables(nodes, "nodes")
            for name in fields.texts(node, "partitions")
            if name in known
        )


def _queue_row(job: Mapping[str, Any]) -> QueueRow:
    task = fields.number(job, "array_task_id")
    return QueueRow(
        external_id=fields.external_id(fields.whole(job, "job_id"), fields.number(job, "array_job_id") or 0, task),
        name=fields.text(job, "name"),
        comment=fields.text(job, "comment"),
        state=strongest(fields.texts(job, "job_state")),
        reason=fields.text(job, "state_reason"),
        account=fields.text(job, "account"),
        partition=fields.text(job, "partition"),
        gpus=words.read_tres(fields.text(job, "tres_alloc_str") or fields.text(job, "tres_req_str")),
        nodes=fields.number(job, "node_count"),
        walltime_minutes=fields.number(job, "time_limit"),
        submit_time=words.read_epoch(fields.number(job, "submit_time")),
        started_at=words.read_epoch(fields.number(job, "start_time")),
        ended_at=words.read_epoch(fields.number(job, "end_time")),
        restart_count=fields.number(job, "restart_cnt") or 0,
        exit_code=_exit_code(fields.table(job, "exit_code")),
        priority=fields.number(job, "priority") or 0,
        tasks=words.count_range(fields.text(job, "array_task_string")) if task is None else 1,
    )


def _history_row(job: Mapping[str, Any]) -> HistoryRow:
    times, state, array = fields.table(job, "time"), fields.table(job, "state"), fields.table(job, "array")
    native = strongest(fields.texts(state, "current"))
    submitted = words.read_epoch(fields.number(times, "submission"))
    if submitted is None:
        words.garbled("a submit time", repr(times.get("submission")))
    return HistoryRow(
        external_id=fields.external_id(
            fields.whole(job, "job_id"), fields.number(array, "job_id") or 0, fields.number(array, "task_id")
        ),
        name=fields.text(job, "name"),
        state=native,
        reason=fields.text(state, "reason"),
        account=fields.text(job, "account"),
        partition=fields.text(job, "partition"),
        gpus=fields.allocated_gpus(job),
        nodes=fields.number(job, "allocation_nodes"),
        walltime_minutes=fields.number(times, "limit"),
        submit_time=submitted,
        started_at=words.read_epoch(fields.number(times, "start")) if fields.tables(job["tres"], "allocated") else None,
        ended_at=None if native in _GOING_ON else words.read_epoch(fields.number(times, "end")),
        elapsed_s=fields.number(times, "elapsed") or 0,
        exit_code=_exit_code(fields.table(job, "exit_code")),
    )


def _exit_code(code: Mapping[str, Any]) -> int:
    signal = fields.number(fields.table(code, "signal"), "id")
    return 128 + signal if signal else fields.number(code, "return_code") or 0


def _node_row(node: Mapping[str, Any], partition: Mapping[str, Any], *, exclusive: Sequence[str]) -> NodeRow:
    maximums = fields.table(partition, "maximums")
    name = fields.text(partition, "name")
    shares = fields.number(fields.table(maximums, "oversubscribe"), "jobs")
    return NodeRow(
        node=fields.text(node, "name"),
        partition=name,
        states=frozenset(fields.texts(node, "state")),
        gpus=words.read_gres(fields.text(node, "gres")),
        used=words.read_gres(fields.text(node, "gres_used")),
        features=frozenset(fields.texts(node, "active_features")),
        max_walltime_minutes=fields.number(maximums, "time"),
        is_exclusive=shares == 0 or name in exclusive,
        is_open=fields.texts(fields.table(partition, "partition"), "state") == ["UP"],
    )
