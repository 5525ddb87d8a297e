"""Which words does each of Slurm's commands take, and what do they print?

Only word lists, never a shell. Formats are the ones that 22.05 to 26.05 print alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from cesai.contract.connector import SiteUnavailable
from cesai_slurm import words
from cesai_slurm.rows import HistoryRow, NodeRow, Question, QueueRow, Submission
from cesai_slurm.tables import read_table

QUEUE_COLUMNS = (
    *("JobArrayID", "Name", "Comment", "State", "Reason", "Account", "Partition", "tres-alloc", "NumNodes"),
    *("TimeLimit", "SubmitTime", "StartTime", "EndTime", "RestartCnt", "exit_code", "PriorityLong"),
)
HISTORY_COLUMNS = (
    *("JobID", "JobName", "State", "Reason", "Account", "Partition", "AllocTRES", "NNodes", "TimelimitRaw"),
    *("Submit", "Start", "End", "ElapsedRaw", "ExitCode"),
)
NODE_COLUMNS = (
    *("NodeList", "PartitionName", "StateComplete", "Gres", "GresUsed", "Features", "Time", "OverSubscribe"),
    "Available",
)
# Without states accounting leaves out a job that was cancelled while it was held. PREEMPTED to OUT_OF_MEMORY: all.
_ALL_STATES = "BF,CA,CD,DL,F,NF,OOM,PD,PR,R,RQ,RS,RV,S"
_JOB_ID = re.compile(r"\d+")
_FINISHED = re.compile(r"(?:Job has already finished|Job/step already completing or completed)\b.*")


def sbatch(submission: Submission) -> list[str]:
    """Submit, held, with a clean environment; the script comes from standard input."""
    return [
        *("sbatch", "--parsable", "--hold", "--no-requeue", "--export=NIL", "--open-mode=append"),
        f"--job-name={submission.marker}",
        f"--comment={submission.marker}",
        f"--account={submission.account}",
        f"--partition={submission.partition}",
        f"--nodes={submission.nodes}",
        f"--ntasks-per-node={submission.tasks_per_node}",
        f"--gres={submission.gres}",
        f"--time={submission.walltime_minutes}",
        f"--chdir={submission.folder}",
        f"--output={submission.output}",
    ]


def read_sbatch(stdout: str) -> str:
    """The id: "12" or "12;cluster".

    Source: sbatch(1), --parsable.
    """
    found = stdout.strip().partition(";")[0]
    if not _JOB_ID.fullmatch(found):
        words.garbled("the id of a submitted job", stdout)
    return found


def release(external_ids: Sequence[str]) -> list[str]:
    """Let held jobs go."""
    return ["scontrol", "release", ",".join(external_ids)]


def is_released_anyway(stderr: str) -> bool:
    """Whether all that scontrol complains of is jobs that ran already.

    Source: seen on 22.05 and 24.11: "Job has already finished for job 16", and a last line that only sums up.
    """
    lines = [line.removeprefix("scontrol: error: ").strip() for line in stderr.splitlines()]
    told = [line for line in lines if line and not line.startswith("slurm_suspend error")]
    return bool(told) and all(_FINISHED.fullmatch(line) for line in told)


def scancel(external_ids: Sequence[str]) -> list[str]:
    """Ask for the end of jobs; unknown and finished ones are no error to scancel."""
    return ["scancel", "--quiet", *external_ids]


def squeue(separator: str) -> list[str]:
    """All jobs in slurmctld's memory. A width of 0 prints a cell whole; what follows it stands behind the cell."""
    cells = ",".join(f"{column}:0{separator}" for column in QUEUE_COLUMNS)
    return ["squeue", "--all", "--noheader", "--states=all", f"--Format={cells}"]


def read_squeue(stdout: str, separator: str) -> tuple[QueueRow, ...]:
    """Jobs as slurmctld has them."""
    return tuple(_queue_row(cells) for cells in read_table(stdout, separator, QUEUE_COLUMNS))


def _queue_row(cells: dict[str, str]) -> QueueRow:
    return QueueRow(
        external_id=cells["JobArrayID"],
        name=cells["Name"],
        comment="" if cells["Comment"] == "(null)" else cells["Comment"],
        state=cells["State"],
        reason=cells["Reason"],
        account=cells["Account"],
        partition=cells["Partition"],
        gpus=words.read_tres(cells["tres-alloc"]),
        nodes=words.read_whole(cells["NumNodes"]),
        walltime_minutes=words.read_minutes(cells["TimeLimit"]),
        submit_time=words.read_time(cells["SubmitTime"]),
        started_at=words.read_time(cells["StartTime"]),
        ended_at=words.read_time(cells["EndTime"]),
        restart_count=words.read_whole(cells["RestartCnt"]),
        exit_code=words.read_exit(cells["exit_code"]),
        priority=words.read_whole(cells["PriorityLong"]),
        tasks=words.count_tasks(cells["JobArrayID"]),
    )


def sacct(question: Question, cluster: str, separator: str) -> list[str]:
    """Every launch in a window, all states, one row each."""
    return [
        *("sacct", "--allusers", "--duplicates", "--allocations", "--noheader", "--parsable"),
        f"--delimiter={separator}",
        f"--format={','.join(HISTORY_COLUMNS)}",
        f"--clusters={cluster}",
        f"--state={_ALL_STATES}",
        f"--starttime={_instant(question.since)}",
        f"--endtime={_instant(question.until)}",
        *([f"--name={','.join(question.names)}"] if question.names else []),
        *([f"--accounts={','.join(question.accounts)}"] if question.accounts else []),
    ]


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


def read_sacct(stdout: str, separator: str) -> tuple[HistoryRow, ...]:
    """Launches as slurmdbd has them. For a second after its end a job's row may be half-filled: without a partition."""
    rows = read_table(stdout, separator, HISTORY_COLUMNS)
    return tuple(_history_row(cells) for cells in rows if cells["Partition"])


def _history_row(cells: dict[str, str]) -> HistoryRow:
    submitted = words.read_time(cells["Submit"])
    if submitted is None:
        words.garbled("a submit time", cells["Submit"])
    limit = cells["TimelimitRaw"]
    return HistoryRow(
        external_id=cells["JobID"],
        name=cells["JobName"],
        state=cells["State"],
        reason=cells["Reason"],
        account=cells["Account"],
        partition=cells["Partition"],
        gpus=words.read_tres(cells["AllocTRES"]),
        nodes=words.read_whole(cells["NNodes"] or "0"),
        walltime_minutes=int(limit) if limit.isdecimal() else None,
        submit_time=submitted,
        started_at=words.read_time(cells["Start"]) if cells["AllocTRES"] else None,
        ended_at=words.read_time(cells["End"]),
        elapsed_s=words.read_whole(cells["ElapsedRaw"] or "0"),
        exit_code=words.read_exit(cells["ExitCode"]),
    )


def sinfo(separator: str) -> list[str]:
    """Each node once per partition."""
    cells = ",".join(f"{column}:0{separator}" for column in NODE_COLUMNS)
    return ["sinfo", "--all", "--noheader", "--Node", f"--Format={cells}"]


def read_sinfo(stdout: str, separator: str) -> tuple[NodeRow, ...]:
    """Nodes as slurmctld has them."""
    return tuple(_node_row(cells) for cells in read_table(stdout, separator, NODE_COLUMNS))


def _node_row(cells: dict[str, str]) -> NodeRow:
    features = cells["Features"]
    return NodeRow(
        node=cells["NodeList"],
        partition=cells["PartitionName"],
        states=frozenset(part.strip("*~#!%$@^-+").upper() for part in cells["StateComplete"].split("+")),
        gpus=words.read_gres(cells["Gres"]),
        used=words.read_gres(cells["GresUsed"]),
        features=frozenset() if features == "(null)" else frozenset(features.split(",")),
        max_walltime_minutes=words.read_minutes(cells["Time"]),
        is_exclusive=cells["OverSubscribe"].startswith("EXCLUSIVE"),
        is_open=cells["Available"] == "up",
    )


def read_configuration(stdout: str) -> dict[str, str]:
    """`scontrol show config` as a table, with the controller's clock under "as of".

    Raises:
        SiteUnavailable: it does not begin as it should.
    """
    first, _, rest = stdout.partition("\n")
    _, found, clock = first.partition("Configuration data as of ")
    if not found or "ClusterName" not in rest:
        msg = f"scontrol show config begins with {first[:80]!r}"
        raise SiteUnavailable(msg)
    table = {"as of": clock.strip()}
    for line in rest.splitlines():
        name, is_pair, value = line.partition("=")
        if is_pair:
            table.setdefault(name.strip(), value.strip())
    return table
