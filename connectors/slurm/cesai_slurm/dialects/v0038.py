"""How does slurmrestd of Slurm 22.05 speak (v0.0.38)?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cesai_slurm import words
from cesai_slurm.dialects import fields
from cesai_slurm.dialects.dialect import Body, history_query
from cesai_slurm.rows import HistoryRow, NodeRow, Question, QueueRow, Submission

_UNLIMITED = 365 * 24 * 60 * 10


class V0038:
    """Plain numbers, one word per state, environment as a table."""

    version = "v0.0.38"
    queue_path = "/slurm/v0.0.38/jobs"
    nodes_path = "/slurm/v0.0.38/nodes"
    partitions_path = "/slurm/v0.0.38/partitions"
    history_path = "/slurmdb/v0.0.38/jobs"
    ping_path = "/slurm/v0.0.38/ping"

    def submission(self, submission: Submission, *, search_path: str) -> Body:
        """The body that submits, held.

        `argv` would end slurmrestd after the job went in; `requeue: false` is ignored; no environment at all is
        refused; and a list of two node counts reserves GPUs of one node only.
        """
        return {
            "script": submission.wrapper,
            "job": {
                "name": submission.marker,
                "comment": submission.marker,
                "account": submission.account,
                "partition": submission.partition,
                "nodes": submission.nodes,
                "tasks": submission.nodes * submission.tasks_per_node,
                "tasks_per_node": submission.tasks_per_node,
                "gres": submission.gres,
                "time_limit": submission.walltime_minutes,
                "current_working_directory": submission.folder,
                "standard_output": submission.output,
                "open_mode": "append",
                "hold": True,
                "no_requeue": True,
                "environment": {"PATH": search_path},
            },
        }

    def questions(self, question: Question) -> Sequence[Mapping[str, str]]:
        """Without a state a job that was cancelled while it was held is left out; with one the others are."""
        query = history_query(question, instant="uts{}")
        return (query, {**query, "state": "CANCELLED"})

    def read_queue(self, body: Body) -> tuple[QueueRow, ...]:
        """Jobs as slurmctld has them."""
        return tuple(_queue_row(job) for job in fields.tables(body, "jobs"))

    def read_history(self, body: Body) -> tuple[HistoryRow, ...]:
        """Launches as slurmdbd has them."""
        return tuple(_history_row(job) for job in fields.tables(body, "jobs") if fields.text(job, "partition"))

    def read_nodes(self, nodes: Body, partitions: Body, *, exclusive: Sequence[str]) -> tuple[NodeRow, ...]:
        """This version does not tell which partitions give whole nodes: the settings do."""
        known = {fields.text(one, "name"): one for one in fields.tables(partitions, "partitions")}
        return tuple(
            _node_row(node, known[name], is_exclusive=name in exclusive)
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
        state=fields.text(job, "job_state"),
        reason=fields.text(job, "state_reason"),
        account=fields.text(job, "account"),
        partition=fields.text(job, "partition"),
        gpus=words.read_tres(fields.text(job, "tres_alloc_str") or fields.text(job, "tres_req_str")),
        nodes=fields.number(job, "node_count"),
        walltime_minutes=_limit(job, "time_limit"),
        submit_time=words.read_epoch(fields.number(job, "submit_time")),
        started_at=words.read_epoch(fields.number(job, "start_time")),
        ended_at=words.read_epoch(fields.number(job, "end_time")),
        restart_count=fields.number(job, "restart_cnt") or 0,
        exit_code=words.read_wait_status(fields.number(job, "exit_code") or 0),
        priority=fields.number(job, "priority") or 0,
        tasks=words.count_range(fields.text(job, "array_task_string")) if task is None else 1,
    )


def _history_row(job: Mapping[str, Any]) -> HistoryRow:
    times, state = fields.table(job, "time"), fields.table(job, "state")
    array, exit_code = fields.table(job, "array"), fields.table(job, "exit_code")
    submitted = words.read_epoch(fields.number(times, "submission"))
    if submitted is None:
        words.garbled("a submit time", repr(times.get("submission")))
    gpus = fields.allocated_gpus(job)
    return HistoryRow(
        external_id=fields.external_id(
            fields.whole(job, "job_id"), fields.number(array, "job_id") or 0, fields.number(array, "task_id")
        ),
        name=fields.text(job, "name"),
        state=fields.text(state, "current"),
        reason=fields.text(state, "reason"),
        account=fields.text(job, "account"),
        partition=fields.text(job, "partition"),
        gpus=gpus,
        nodes=fields.number(job, "allocation_nodes"),
        walltime_minutes=_limit(times, "limit"),
        submit_time=submitted,
        started_at=words.read_epoch(fields.number(times, "start")) if fields.tables(job["tres"], "allocated") else None,
        ended_at=words.read_epoch(fields.number(times, "end")),
        elapsed_s=fields.number(times, "elapsed") or 0,
        exit_code=_exit_code(exit_code, fields.text(state, "current")),
    )


def _exit_code(code: Mapping[str, Any], state: str) -> int | None:
    signal = code.get("signal")
    if isinstance(signal, Mapping):
        return 128 + (fields.number(signal, "signal_id") or 0)
    # 22.05 tells 0 of a script that ended with 7: a 0 of a failed job is no word at all.
    return fields.number(code, "return_code") or (None if state == "FAILED" else 0)


def _limit(body: Mapping[str, Any], name: str) -> int | None:
    minutes = fields.number(body, name)
    return minutes if minutes is not None and 0 <= minutes < _UNLIMITED else None


def _node_row(node: Mapping[str, Any], partition: Mapping[str, Any], *, is_exclusive: bool) -> NodeRow:
    features = fields.text(node, "active_features")
    return NodeRow(
        node=fields.text(node, "name"),
        partition=fields.text(partition, "name"),
        states=frozenset({fields.text(node, "state").upper(), *fields.texts(node, "state_flags")}),
        gpus=words.read_gres(fields.text(node, "gres")),
        used=words.read_gres(fields.text(node, "gres_used")),
        features=frozenset(features.split(",")) - {""},
        max_walltime_minutes=_limit(partition, "max_time_limit"),
        is_exclusive=is_exclusive,
        is_open=fields.text(partition, "state") == "UP",
    )
