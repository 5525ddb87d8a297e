"""Do the four witnesses of every attempt agree, and what does the report say?

Accounting and the scheduler are asked again here, by the sites' own commands: what the hub says about itself is no
witness for the hub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from cesai.demo.acts.work import Work
from cesai.demo.cast import OPERATOR, Person
from cesai.demo.slurm import SlurmSite
from cesai.demo.stage import Stage
from cesai.demo.steps import StepFailed, StepResult
from cesai.kernel.ids import marker

MS = 1_000
WRAPPER_LATE_MS = 5 * MS  # per GPU: the wrapper starts after the allocation and ends before it
SCHEDULER_OFF_MS = 1 * MS  # per GPU


@dataclass(frozen=True, slots=True)
class Books:
    """Reads the real systems and compares."""

    stage: Stage
    work: Work

    @property
    def operator(self) -> Person:
        """Who may read the books."""
        return self.stage.person(OPERATOR)

    def verify(self) -> str:
        """The ledger's invariants hold, and for each attempt the four witnesses agree."""
        checks = self.operator.does("ledger", "verify")
        if not checks["invariants_hold"]:
            msg = f"the ledger's invariants do not hold: {[check for check in checks['checks'] if not check['holds']]}"
            raise StepFailed(msg)
        attempts = [attempt for job in self.jobs() for attempt in job["attempts"]]
        for attempt in attempts:
            self._agree(attempt)
        total = sum(attempt["gpu_ms_settled"] for attempt in attempts)
        return (
            f"{len(attempts)} attempts, {total / MS:,.0f} GPU-seconds: ledger, accounting, scheduler and wrapper agree"
        )

    def jobs(self) -> list[dict[str, Any]]:
        """Every job of this run with its attempts and their witnesses."""
        return [self._job(name) for name in self.work.jobs]

    def facts(self) -> dict[str, Any]:
        """What the real systems and the hub say at the end."""
        return {
            "sites": [self._site(site) for site in self.operator_items("site", "list")],
            "jobs": self.jobs(),
            "ledger": {
                "invariants_hold": self.operator.does("ledger", "verify")["invariants_hold"],
                "balances": {row["account"]: row["gpu_ms"] for row in self.operator_items("ledger", "balances")},
            },
        }

    def protocol(self, steps: list[StepResult]) -> dict[str, Any]:
        """How each step went, and what each process needs."""
        return {
            "steps": [
                {"name": step.name, "ok": step.ok, "seconds": round(step.seconds, 3), "skipped": step.skipped}
                for step in steps
            ],
            "processes": [{"name": name, "rss_mb": size} for name, size in self.stage.rss_mb().items()],
        }

    def operator_items(self, *words: str) -> list[dict[str, Any]]:
        """A list as the operator sees it."""
        answer = self.operator.does(*words)
        return list(answer["items"] if isinstance(answer, dict) else answer)

    # -- below

    def _site(self, row: dict[str, Any]) -> dict[str, Any]:
        site = self.operator.does("site", "show", row["id"])
        return {
            "name": site["id"],
            "kind": site["kind"],
            "backend": site["contact"]["backend"],
            "scheduler_version": site["contact"]["scheduler_version"],
            "gpus": site["gpus"],
            "inventory_age_s": site["contact"]["inventory_age_s"],
        }

    def _job(self, name: str) -> dict[str, Any]:
        job = self.work.show(name)
        return {
            "id": job["id"],
            "project": job["project"],
            "state": job["state"],
            "attempts": [
                self._attempt(attempt, marker(UUID(job["id"]), attempt["number"])) for attempt in job["attempts"]
            ],
        }

    def _attempt(self, attempt: dict[str, Any], name: str) -> dict[str, Any]:
        site = self.stage.sites[attempt["site"]]
        return {
            "site": attempt["site"],
            "external_id": attempt["external_id"],
            "gpu_ms_reserved": attempt["gpu_ms_reserved"],
            "gpu_ms_settled": attempt["gpu_ms_settled"],
            "gpu_ms_accounting": accounting_gpu_ms(site, name),
            "gpu_ms_scheduler": scheduler_gpu_ms(site, attempt["external_id"]) if attempt["external_id"] else 0,
            "gpu_ms_wrapper": attempt["gpu_ms_wrapper"],
            "gpus": attempt["gpus"],
        }

    def _agree(self, attempt: dict[str, Any]) -> None:
        settled, accounting = attempt["gpu_ms_settled"], attempt["gpu_ms_accounting"]
        scheduler, wrapper, gpus = attempt["gpu_ms_scheduler"], attempt["gpu_ms_wrapper"], attempt["gpus"]
        agree = (
            settled == accounting
            and (scheduler is None or abs(scheduler - accounting) <= SCHEDULER_OFF_MS * gpus)
            and accounting - WRAPPER_LATE_MS * gpus <= (wrapper or 0) <= accounting + SCHEDULER_OFF_MS * gpus
        )
        if not agree:
            msg = f"the witnesses of {attempt['external_id']} at {attempt['site']} do not agree: {attempt}"
            raise StepFailed(msg)


def accounting_gpu_ms(site: SlurmSite, marker: str) -> int:
    """What accounting has for this name, read again from the site: AllocTRES x ElapsedRaw over all launches.

    Source: sacct(1).
    """
    line = ["sacct", "-D", "-X", "-n", "-P", "-a", f"--name={marker}", "-S", "now-2days", "-E", "now"]
    done = site.run([*line, "-o", "JobName,ElapsedRaw,AllocTRES"])
    total = 0
    for name, elapsed, tres in (row.split("|") for row in done.stdout.splitlines()):
        if name == marker:
            total += int(elapsed) * _gpus(tres) * MS
    return total


def scheduler_gpu_ms(site: SlurmSite, external_id: str) -> int | None:
    """What slurmctld itself has of this job, or None when it has forgotten it. Source: scontrol(1)."""
    done = site.run(["scontrol", "show", "job", "-o", external_id], check=False)
    if done.returncode != 0:
        return None
    found = dict(re.findall(r"(\w+)=(\S*)", done.stdout))
    began, ended = (_instant(found[key]) for key in ("StartTime", "EndTime"))
    if began is None or ended is None:
        return 0
    tres = found.get("AllocTRES") or found.get("TRES") or ""
    return int((ended - began).total_seconds()) * _gpus(tres) * MS


def _gpus(tres: str) -> int:
    match = re.search(r"gres/gpu=(\d+)", tres)
    return int(match[1]) if match else 0


def _instant(text: str) -> datetime | None:
    return None if text in {"Unknown", "None", ""} else datetime.fromisoformat(text)
