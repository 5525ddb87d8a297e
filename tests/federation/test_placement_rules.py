"""Does the planner do what it claims?"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesai.federation.rules import plan
from cesai.federation.rules.room import NEVER, Room
from cesai.federation.rules.wire import Action, Job, Place, Policy, Run, Snapshot, Wait

NOW = 1_000_000.0
HOUR_S = 3600.0
HOUR_MS = 3_600_000


def place(name: str = "juelich", **changes) -> Place:
    return replace(Place(name=name, gpus=8, free=8, up=8, gpu_class="H100"), **changes)


def job(name: str = "job", **changes) -> Job:
    plain = Job(id=name, gpus=4, walltime_s=HOUR_S, submit_s=NOW - 60, project="law")
    return replace(plain, **changes)


def planned(places, jobs, *, policy: Policy | None = None, **changes):
    return plan(Snapshot(places=tuple(places), jobs=tuple(jobs), **changes), policy or Policy(), NOW)


def moves(decided) -> list[tuple[str, str, str]]:
    return [(action.kind, action.job, action.place) for action in decided.actions]


def test_a_job_goes_where_it_starts_first():
    busy = place("busy", free=0, running=(Run(8, NOW + HOUR_S),))
    assert moves(planned([busy, place("idle")], [job()])) == [("place", "job", "idle")]


def test_among_equals_home_wins_then_what_is_most_idle():
    half, idle = place("a", free=4), place("b")
    assert moves(planned([half, idle], [job(home="a")])) == [("place", "job", "a")]
    assert moves(planned([half, idle], [job()])) == [("place", "job", "b")]


def test_a_job_that_starts_soon_goes_into_the_queue_and_one_that_starts_late_stays_at_the_hub():
    soon = place(free=0, running=(Run(8, NOW + 120),))
    late = place(free=0, running=(Run(8, NOW + HOUR_S),))
    assert planned([soon], [job()]).actions[0].reason == "it starts there first, in 120 s at the latest"
    decided = planned([late], [job()])
    assert decided.actions == ()
    assert decided.waiting["job"] == "It could run at: juelich (4 of 4 GPUs short, in 60 min at the latest)."


def test_nothing_is_placed_twice_over_the_same_gpus():
    decided = planned([place()], [job("a"), job("b", submit_s=NOW - 50), job("c", submit_s=NOW - 40)])
    assert moves(decided) == [("place", "a", "juelich"), ("place", "b", "juelich")]
    assert set(decided.waiting) == {"c"}


def test_own_submissions_that_the_site_has_not_told_yet_count():
    placed = job("placed", gpus=6, places=("juelich",))
    decided = planned([place()], [placed, job()])
    assert moves(decided) == []
    assert decided.waiting["job"].startswith("It could run at: juelich (2 of 4 GPUs short")


def test_own_submissions_leave_the_rest_to_others():
    placed = job("placed", gpus=6, places=("juelich",))
    assert moves(planned([place()], [placed, job(gpus=2)])) == [("place", "job", "juelich")]


def test_an_own_submission_that_the_site_tells_is_counted_once():
    queued = place(queued=(Wait("placed", 4, HOUR_S),))
    running = place(free=4, running=(Run(4, NOW + HOUR_S, None, "placed"),))
    placed = job("placed", places=("juelich",))
    assert moves(planned([queued], [placed, job()])) == [("place", "job", "juelich")]
    assert moves(planned([running], [placed, job()])) == [("place", "job", "juelich")]


def test_a_placed_job_is_left_where_it_is_in_production():
    stuck = place("stuck", free=0, running=(Run(8, NOW + 9 * HOUR_S),), queued=(Wait("job", 4, HOUR_S),))
    decided = planned([stuck, place("idle")], [job(places=("stuck",))])
    assert decided.actions == ()
    assert decided.waiting == {}


def test_a_small_job_passes_the_head_of_a_sites_queue_only_if_it_ends_before_it_starts():
    held = place(free=4, running=(Run(4, NOW + HOUR_S),), queued=(Wait(None, 8, HOUR_S),))
    assert moves(planned([held], [job(walltime_s=HOUR_S)])) == [("place", "job", "juelich")]
    decided = planned([held], [job(walltime_s=HOUR_S + 60)])
    assert decided.actions == ()
    assert "its 4 free GPUs are kept for the head of its queue" in decided.waiting["job"]


def test_gpus_are_kept_for_a_big_job_and_short_ones_pass_it():
    busy = place(free=4, running=(Run(4, NOW + HOUR_S),))
    big = job("big", gpus=8, submit_s=NOW - 300)
    short = job("short", walltime_s=HOUR_S, submit_s=NOW - 200)
    long = job("long", walltime_s=2 * HOUR_S, submit_s=NOW - 100)
    decided = planned([busy], [big, long])
    assert decided.actions == ()
    assert decided.waiting["big"] == "Next in line at juelich: 8 GPUs are kept for it, in 60 min at the latest."
    assert "its 4 free GPUs are kept for an older or larger job" in decided.waiting["long"]
    assert moves(planned([busy], [big, short, long])) == [("place", "short", "juelich")]


def test_an_old_small_job_gets_its_gpus_kept_and_a_young_one_does_not():
    busy = place(gpus=4, up=4, free=2, running=(Run(2, NOW + HOUR_S),))
    young = [job("wants4", submit_s=NOW - 60), job("wants2", gpus=2, submit_s=NOW - 30, walltime_s=9 * HOUR_S)]
    assert moves(planned([busy], young)) == [("place", "wants2", "juelich")]
    old = [replace(young[0], submit_s=NOW - HOUR_S), young[1]]
    assert planned([busy], old).actions == ()


def test_the_project_that_holds_least_goes_first():
    jobs = [job("flood", submit_s=NOW - 900), job("other", project="bio", submit_s=NOW - 60)]
    one_free = place(free=4)
    assert moves(planned([one_free], jobs, held={"law": 8})) == [("place", "other", "juelich")]
    assert moves(planned([one_free], jobs)) == [("place", "flood", "juelich")]


def test_running_work_of_a_project_counts_as_held_where_the_site_tells_whose_it_is():
    jobs = [job("flood", submit_s=NOW - 900), job("other", project="bio", submit_s=NOW - 60)]
    told = place(free=4, running=(Run(4, NOW + HOUR_S, "law"),))
    assert moves(planned([told], jobs)) == [("place", "other", "juelich")]


def test_a_flood_of_one_project_takes_turns_with_the_others():
    flood = [job(f"f{index:04}", gpus=1, submit_s=NOW - 9000 + index) for index in range(300)]
    others = [job(f"o{index}", gpus=1, project="bio", submit_s=NOW - 60 + index) for index in range(4)]
    placed = [name for _, name, _ in moves(planned([place()], flood + others))]
    assert placed == ["f0000", "o0", "f0001", "o1", "f0002", "o2", "f0003", "o3"]


@pytest.mark.parametrize(
    ("there", "asked", "why"),
    [
        ({"gpu_class": "A100"}, {"gpu_classes": ("H100", "H200")}, "juelich has A100, not H100 or H200"),
        ({"gpu_class": None}, {"gpu_classes": ("H100",)}, "juelich has GPUs of no known class, not H100"),
        ({"memory_gb": 40}, {"memory_gb": 80}, "juelich has 40 GB per GPU, 80 GB are asked"),
        ({}, {"allowed_sites": ("rwth",)}, "juelich is not among the sites that the job allows"),
        ({}, {"excluded": {"juelich": "it was rejected there"}}, "juelich will not do: it was rejected there"),
        ({"gpus_per_node": 4}, {"gpus_per_node": 8, "gpus": 8}, "juelich has 4 GPUs per node, 8 are asked"),
        ({"nodes": 2}, {"nodes": 3}, "juelich has 2 nodes up, 3 are asked"),
        ({}, {"gpus": 16}, "juelich has 8 GPUs up, 16 are needed"),
        ({"up": 0, "free": 0}, {}, "juelich has no GPU that is up"),
        ({"closed": "is draining: it takes no new jobs"}, {}, "juelich is draining: it takes no new jobs"),
        ({"max_walltime_s": HOUR_S}, {"walltime_s": 2 * HOUR_S}, "juelich runs no job for longer than 60 min"),
    ],
)
def test_a_hard_rule_keeps_a_job_away_and_says_which(there, asked, why):
    decided = planned([place(**there)], [job(**asked)])
    assert decided.actions == ()
    assert decided.waiting == {"job": f"No site can take it now: {why}."}


def test_any_of_several_classes_will_do():
    places = [place("a", gpu_class="A100", closed="is draining"), place("h", gpu_class="H100")]
    assert moves(planned(places, [job(gpu_classes=("A100", "H100"))])) == [("place", "job", "h")]


def test_a_job_waits_for_one_site_and_is_told_why_not_another():
    places = [place("a", gpu_class="A100"), place("h", free=1, running=(Run(7, NOW + HOUR_S),))]
    decided = planned(places, [job(gpu_classes=("H100",))])
    assert decided.waiting["job"] == (
        "It could run at: h (3 of 4 GPUs short, in 60 min at the latest). Not at: a has A100, not H100."
    )


def test_a_site_takes_only_projects_that_it_accepted():
    said = {"law": {"rwth": "export rules"}}
    decided = planned([place("juelich"), place("rwth")], [job()], acceptance=said)
    assert decided.waiting["job"] == (
        "No site can take it now: juelich has not accepted project law yet; rwth refused project law: export rules."
    )
    assert moves(planned([place()], [job()], acceptance={"law": {"juelich": None}})) == [("place", "job", "juelich")]


def test_a_job_needs_an_award_line_that_bears_it_alone():
    none = planned([place()], [job()], budgets={})
    assert none.waiting["job"] == (
        "No site can take it now: juelich is not in an award of law for H100 in this period."
    )
    lines = {("law", "juelich", "H100"): (3 * HOUR_MS, 2 * HOUR_MS)}
    small = planned([place(margin_s=120)], [job()], budgets=lines)
    assert small.waiting["job"] == (
        "No site can take it now: juelich is paid for 43 min of 4 GPUs at most: the award there has "
        "3.00 GPU-hours left."
    )
    assert moves(planned([place(margin_s=120)], [job(walltime_s=43 * 60)], budgets=lines)) == [
        ("place", "job", "juelich")
    ]


def test_two_jobs_do_not_spend_the_same_hour():
    lines = {("law", "juelich", "H100"): (5 * HOUR_MS,)}
    decided = planned([place()], [job("a"), job("b", submit_s=NOW - 50)], budgets=lines)
    assert moves(decided) == [("place", "a", "juelich")]
    assert decided.waiting["b"] == (
        "No site can take it now: juelich is paid for 15 min of 4 GPUs at most: the award there has "
        "1.00 GPU-hours left."
    )


def test_a_place_that_charges_whole_nodes_is_counted_in_whole_nodes():
    shared = place(gpus_per_node=4, nodes=2)
    whole = replace(shared, is_exclusive=True)
    jobs = [job(f"j{index}", gpus=1, nodes=1, gpus_per_node=1, submit_s=NOW - 60 + index) for index in range(3)]
    assert len(planned([shared], jobs).actions) == 3
    assert len(planned([whole], jobs).actions) == 2
    lines = {("law", "juelich", "H100"): (HOUR_MS,)}
    assert planned([whole], jobs[:1], budgets=lines).actions == ()


def test_two_pools_of_one_site_are_told_apart_by_name():
    pools = [place("rwth/a", site="rwth", gpu_class="A100"), place("rwth/h", site="rwth", closed="is draining")]
    decided = planned(pools, [job(gpu_classes=("H100",), home="rwth", allowed_sites=("rwth",))])
    assert decided.waiting["job"] == "No site can take it now: rwth/a has A100, not H100; rwth/h is draining."


# Moves, in the wire form's what-if


STUCK = place("stuck", free=0, running=(Run(8, NOW + 2 * HOUR_S),), queued=(Wait("job", 4, HOUR_S),))
MOVING = Policy.with_moves()


def test_a_place_with_room_takes_a_job_that_would_wait_long():
    decided = planned([STUCK, place("idle")], [job(places=("stuck",))], policy=MOVING)
    assert decided.actions == (
        Action("place", "job", "idle", "4 GPUs are needed, 8 are free: it starts now"),
        Action("remove", "job", "stuck", "it starts elsewhere now; there it waits 120 min"),
    )


@pytest.mark.parametrize(
    ("there", "mine"),
    [
        (replace(STUCK, running=(Run(8, NOW + 300),)), {}),  # starts soon anyway
        (replace(STUCK, queued=()), {}),  # still on its way there
        (STUCK, {"places": ("stuck", "idle")}),  # a move is in flight
        (STUCK, {"moves": 2}),  # moved often enough
    ],
)
def test_a_job_is_not_moved_for_little_or_over_and_over(there, mine):
    decided = planned([there, place("idle", free=4)], [job(**({"places": ("stuck",)} | mine))], policy=MOVING)
    assert decided.actions == ()


def test_a_job_leaves_a_place_that_takes_no_work():
    dead = place("dead", up=0, free=0)
    decided = planned([dead, place("idle")], [job(places=("dead",))], policy=MOVING)
    assert moves(decided) == [("place", "job", "idle"), ("remove", "job", "dead")]


# Properties


NAMES = st.sampled_from(["a", "b", "c", "d"])
WALLS = st.sampled_from([60.0, 1800.0, 3600.0, 7200.0])
SIZES = st.integers(1, 10)


@st.composite
def places(draw, name):
    gpus = draw(st.integers(1, 16))
    up = draw(st.integers(0, gpus))
    free = draw(st.integers(0, up))
    return Place(
        name=name,
        gpus=gpus,
        up=up,
        free=free,
        running=tuple(draw(st.lists(st.builds(Run, SIZES, st.floats(NOW - 100, NOW + 9000)), max_size=4))),
        queued=tuple(draw(st.lists(st.builds(Wait, st.none(), SIZES, WALLS), max_size=3))),
        gpu_class=draw(st.sampled_from(["H100", "A100", None])),
        gpus_per_node=draw(st.sampled_from([None, 2, 4])),
        is_exclusive=draw(st.booleans()),
        max_walltime_s=draw(st.sampled_from([None, 1800.0])),
        closed=draw(st.sampled_from([None, None, None, "is draining"])),
        margin_s=120,
    )


@st.composite
def snapshots(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    there = tuple(draw(places(name)) for name in names)
    jobs = tuple(
        Job(
            id=f"j{index}",
            gpus=draw(SIZES),
            walltime_s=draw(WALLS),
            submit_s=NOW - draw(st.integers(0, 4000)),
            project=draw(st.sampled_from(["law", "bio", "sky"])),
            home=draw(st.one_of(st.none(), NAMES)),
            places=draw(st.one_of(st.just(()), st.just(()), st.tuples(NAMES))),
            gpu_classes=draw(st.sampled_from([(), ("H100",), ("H100", "A100")])),
        )
        for index in range(draw(st.integers(0, 12)))
    )
    lines = st.lists(st.integers(-HOUR_MS, 20 * HOUR_MS), min_size=1, max_size=2).map(tuple)
    keys = [(project, name, kind) for project in ("law", "bio") for name in names for kind in ("H100", "A100", "")]
    budgets = draw(st.one_of(st.none(), st.fixed_dictionaries(dict.fromkeys(keys, lines))))
    return Snapshot(places=there, jobs=jobs, held={"law": draw(st.integers(0, 9))}, budgets=budgets)


POLICIES = st.sampled_from([Policy(), MOVING, Policy(soon_s=0)])


@given(snapshots(), POLICIES, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_order_in_which_sites_and_jobs_are_told_does_not_matter(snapshot, policy, random):
    shuffled = replace(
        snapshot,
        places=tuple(random.sample(snapshot.places, len(snapshot.places))),
        jobs=tuple(random.sample(snapshot.jobs, len(snapshot.jobs))),
    )
    assert plan(shuffled, policy, NOW) == plan(snapshot, policy, NOW)


@given(snapshots(), POLICIES)
@settings(deadline=None, max_examples=50)
def test_a_plan_changes_nothing_that_it_was_given(snapshot, policy):
    before = copy.deepcopy(snapshot)
    plan(snapshot, policy, NOW)
    assert snapshot == before


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_in_production_each_job_has_a_place_or_a_reason_and_never_two_places(snapshot):
    decided = plan(snapshot, Policy(), NOW)
    placed = [action.job for action in decided.actions]
    assert all(action.kind == "place" for action in decided.actions)
    assert len(set(placed)) == len(placed)
    free = {job.id for job in snapshot.jobs if not job.places}
    assert set(placed) | set(decided.waiting) == free
    assert not set(placed) & set(decided.waiting)
    assert all(reason.endswith(".") for reason in decided.waiting.values())


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_what_starts_now_never_exceeds_what_is_free(snapshot):
    decided = plan(snapshot, Policy(soon_s=0), NOW)
    sizes = {job.id: job.gpus for job in snapshot.jobs}
    for there in snapshot.places:
        taken = sum(sizes[action.job] for action in decided.actions if action.place == there.name)
        assert taken <= there.free


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_no_award_line_is_drawn_below_zero(snapshot):
    if snapshot.budgets is None:
        return
    decided = plan(snapshot, Policy(), NOW)
    jobs = {job.id: job for job in snapshot.jobs}
    there = {each.name: each for each in snapshot.places}
    for key, lines in snapshot.budgets.items():
        spent = sum(
            jobs[action.job].gpus * (jobs[action.job].walltime_s + 120) * 1000
            for action in decided.actions
            if (jobs[action.job].project, action.place, there[action.place].gpu_class or "") == key
        )
        assert spent <= sum(max(0, left) for left in lines)


@given(snapshots())
@settings(deadline=None, max_examples=50)
def test_a_second_round_after_the_first_places_nothing_more(snapshot):
    policy = Policy(reserve_after_s=1e9, big_gpus=10**6)
    first = plan(snapshot, policy, NOW)
    went = {action.job: action.place for action in first.actions}
    jobs = tuple(replace(job, places=(went[job.id],)) if job.id in went else job for job in snapshot.jobs)
    second = plan(replace(snapshot, jobs=jobs, budgets=None), replace(policy, soon_s=0), NOW)
    if snapshot.budgets is None:
        assert second.actions == ()


# When a place is free, against a slow reference


def _reference(place: Place, gpus: int) -> float:
    """List scheduling by trying every instant at which something ends; no backfill, so for queues that fit nowhere."""
    held: list[tuple[float, float, int]] = [(NOW, max(run.ends_s, NOW + 60), run.gpus) for run in place.running]
    floor = NOW
    for size, wall in [*((work.gpus, work.walltime_s) for work in place.queued), (gpus, 0.0)]:
        instants = sorted({floor, *(end for _, end, _ in held if end > floor)})
        free_at = [(at, place.up - sum(each for start, end, each in held if start <= at < end)) for at in instants]
        start = next((at for at, free in free_at if free >= size), NEVER)
        held.append((start, start + wall, size))
        floor = start
    return floor


@given(
    st.lists(st.tuples(st.integers(1, 4), st.floats(NOW + 100, NOW + 9000)), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(1, 8), WALLS), max_size=4),
    st.integers(1, 8),
)
def test_the_start_behind_a_queue_is_that_of_list_scheduling(running, queued, gpus):
    total = sum(size for size, _ in running)
    there = Place(
        name="a",
        gpus=total,
        up=total,
        free=0,
        running=tuple(Run(size, end) for size, end in running),
        queued=tuple(Wait(None, size, wall) for size, wall in queued if size <= total),
    )
    if gpus <= total:
        assert Room(there, [], NOW).starts_by(gpus) == _reference(there, gpus)
