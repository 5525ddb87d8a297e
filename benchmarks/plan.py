"""How long does one placement round take, for 100,000 queued jobs and 20 sites?

`python benchmarks/plan.py` prints the median of five rounds in seconds of one core, and its ratio to sorting the
same jobs once, which is a figure that machines can be compared by.
"""
# ruff: noqa: INP001  a script of its own, in no package

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from cesai.federation.rules import plan
from cesai.federation.rules.wire import Job, Place, Policy, Run, Snapshot, Wait

HOUR_S = 3600.0
CLASSES = ("H100", "A100", "MI300")
SIZES = (1, 1, 1, 2, 4, 4, 8, 8, 16, 32, 64)
ROUNDS = 5
PROJECTS = 200
BOUND_SHARE = 0.1


@dataclass(frozen=True)
class Group:
    """A project: its home, and what its jobs ask for."""

    name: str
    home: str
    gpu_classes: tuple[str, ...]
    allowed_sites: tuple[str, ...]


def snapshot(*, jobs: int, sites: int, seed: int, has_budgets: bool) -> Snapshot:
    """Busy sites and a long queue: sizes and wall times vary, many projects are bound to a class, some to sites."""
    draw = random.Random(seed)  # noqa: S311  a made-up queue
    names = [f"site{index:02}" for index in range(sites)]
    groups = [_group(index, names, draw) for index in range(PROJECTS)]
    places = tuple(_place(name, draw) for name in names)
    budgets = {
        (group.name, place.name, place.gpu_class or ""): (draw.randrange(10**9, 10**13),)
        for group in groups
        for place in places
    }
    return Snapshot(
        places=places,
        jobs=tuple(_job(index, draw.choice(groups), draw) for index in range(jobs)),
        held={group.name: draw.randrange(200) for group in groups},
        acceptance={group.name: dict.fromkeys(names) for group in groups} if has_budgets else None,
        budgets=budgets if has_budgets else None,
    )


def _place(name: str, draw: random.Random) -> Place:
    gpus = draw.choice((256, 512, 2048))
    running = []
    used = 0
    while used < gpus * 0.9:
        size = draw.choice(SIZES)
        running.append(Run(size, draw.random() * 24 * HOUR_S))
        used += size
    queued = tuple(Wait(None, draw.choice(SIZES), draw.random() * 24 * HOUR_S) for _ in range(50))
    return Place(
        name=name,
        gpus=gpus,
        free=max(0, gpus - used),
        up=gpus,
        running=tuple(running),
        queued=queued,
        gpu_class=draw.choice(CLASSES),
        gpus_per_node=8,
        nodes=gpus // 8,
        max_walltime_s=draw.choice((24, 48, 72)) * HOUR_S,
        margin_s=120,
    )


def _group(index: int, sites: list[str], draw: random.Random) -> Group:
    return Group(
        name=f"project{index:03}",
        home=draw.choice(sites),
        gpu_classes=tuple(draw.sample(CLASSES, draw.randrange(3))),
        allowed_sites=tuple(draw.sample(sites, 3)) if draw.random() < BOUND_SHARE else (),
    )


def _job(index: int, group: Group, draw: random.Random) -> Job:
    return Job(
        id=f"job{index}",
        gpus=draw.choice(SIZES),
        walltime_s=draw.randrange(1, 72 * 60) * 60,
        submit_s=-draw.random() * 48 * HOUR_S,
        project=group.name,
        user=f"user{draw.randrange(1000)}",
        home=group.home,
        gpu_classes=group.gpu_classes,
        allowed_sites=group.allowed_sites,
    )


def _seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budgets", action="store_true", help="with acceptance and award lines")
    given = parser.parse_args()
    told = snapshot(jobs=given.jobs, sites=given.sites, seed=given.seed, has_budgets=given.budgets)
    decided = plan(told, Policy(), 0.0)
    planning = statistics.median(_seconds(lambda: plan(told, Policy(), 0.0)) for _ in range(ROUNDS))
    sorting = statistics.median(
        _seconds(lambda: sorted(told.jobs, key=lambda job: (job.submit_s, job.id))) for _ in range(ROUNDS)
    )
    figures = {
        "jobs": given.jobs,
        "sites": given.sites,
        "placed": len(decided.actions),
        "plan_s": round(planning, 3),
        "sort_s": round(sorting, 3),
        "ratio": round(planning / sorting, 1),
    }
    print(json.dumps(figures))  # noqa: T201  the answer


if __name__ == "__main__":
    main()
