"""How many jobs per second go through hub and agent, against a plain sbatch loop on the same cluster?

`python benchmarks/dispatch.py --jobs 100` brings up the hub and two real Slurm sites in a folder of its own, sends jobs
that do nothing through the API, each wanting one GPU, then the same number by `sbatch`, and prints both rates and
their ratio. What it started ends with it.
"""
# ruff: noqa: INP001  a script of its own, in no package

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from cesai.client.api import Hub
from cesai.contract.jobs import JobFile
from cesai.demo import runtime
from cesai.demo.acts.setting import Setting
from cesai.demo.cast import LEADS
from cesai.demo.slurm import SlurmSite
from cesai.demo.stage import Stage

PROJECT, SITE, GPU_CLASS = "chem-lm", "rwth", "A100"
FINAL = {"SUCCEEDED", "FAILED", "CANCELLED"}
PATIENCE_S = 900.0


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100)
    jobs = parser.parse_args().jobs
    folder = Path(tempfile.mkdtemp(prefix="cesai-dispatch-", dir="/var/tmp"))
    folder.chmod(0o755)
    stage = Stage.make(replace(runtime.prepare(), home=folder))
    try:
        _come_up(stage)
        by_hub = through_hub(stage, jobs)
        by_sbatch = through_sbatch(stage.sites[SITE], jobs)
        memory = stage.rss_mb()
    finally:
        stage.stop()
        shutil.rmtree(folder, ignore_errors=True)
    figures = {"jobs": jobs, "hub_jobs_per_s": jobs / by_hub, "sbatch_jobs_per_s": jobs / by_sbatch}
    figures |= {"ratio": by_sbatch / by_hub, "hub_rss_mb": memory["hub"], "agent_rss_mb": memory[f"agent-{SITE}"]}
    sys.stdout.write(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=2) + "\n")


def through_hub(stage: Stage, jobs: int) -> float:
    """Seconds from the first submission to the last job's end, as the API tells it."""
    os.environ["CESAI_CONFIG_DIR"] = str(stage.person(LEADS[PROJECT]).config)
    wish = JobFile(
        name="nothing", project=PROJECT, entrypoint="true", gpus_per_node=1, gpu_class=(GPU_CLASS,), walltime=1,
        sites=(SITE,),
    )  # fmt: skip
    with Hub.signed_in() as hub:
        began = time.monotonic()
        for _ in range(jobs):
            hub.jobs.submit(wish)
        while any(job.state not in FINAL for job in hub.jobs.list(project=PROJECT)):
            _check(began)
            time.sleep(0.5)
        took = time.monotonic() - began
        states = [job.state for job in hub.jobs.list(project=PROJECT)]
    if states.count("SUCCEEDED") != jobs:
        sys.exit(f"{jobs - states.count('SUCCEEDED')} of {jobs} jobs did not succeed")
    return took


def through_sbatch(site: SlurmSite, jobs: int) -> float:
    """Seconds from the first sbatch to an empty queue."""
    script = site.account.file(site.work / "nothing.sh", "#!/bin/sh\ntrue\n", mode=0o755)
    line = ["sbatch", "--parsable", "--account=guests", "--gres=gpu:1", "--time=1", "--output=/dev/null", script]
    began = time.monotonic()
    for _ in range(jobs):
        site.run(line)
    while site.run(["squeue", "-h"]).stdout.strip():
        _check(began)
        time.sleep(0.1)
    return time.monotonic() - began


def _come_up(stage: Stage) -> None:
    setting = Setting(stage)
    stage.start_database()
    stage.start_hub()
    for step in (
        stage.start_sites,
        setting.everybody_signs_in,
        setting.register_sites,
        setting.enrol_agents,
        setting.discover,
        setting.confirm_mapping,
        setting.pledge,
        setting.found_groups,
    ):
        step()


def _check(began: float) -> None:
    if time.monotonic() - began > PATIENCE_S:
        sys.exit(f"not done after {PATIENCE_S:.0f} s")


if __name__ == "__main__":
    main()
