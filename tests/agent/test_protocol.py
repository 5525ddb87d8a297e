"""Does the submit protocol run every attempt at most once, and always come to an end, whatever happens?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesai.agent.rules import HeldAttempt, Phase, Revoke
from cesai.contract.connector import SiteUnavailable
from cesai.kernel.states import NOTHING_RAN, Outcome
from tests.agent.driver import Driver
from tests.agent.fake_site import FINAL_STATES, FakeSite, order


def _set(**values: object) -> Callable[[Driver], None]:
    return lambda driver: driver.site.world.__dict__.update(values)


def _add(name: str) -> Callable[[Driver], None]:
    def add(driver: Driver) -> None:
        world = driver.site.world.__dict__
        world[name] += 1

    return add


def _operator_cancels(driver: Driver) -> None:
    with suppress(SiteUnavailable):
        driver.site.cancel([job["id"] for job in driver.site.world.jobs])


EVENTS: dict[str, Callable[[Driver], None]] = {
    "turn": Driver.turn,
    "turn again": Driver.turn,
    "turn once more": Driver.turn,
    "tick": lambda driver: driver.site.tick(),
    "tick again": lambda driver: driver.site.tick(),
    "die decided": lambda driver: driver.turn(die="decided"),
    "die journaled": lambda driver: driver.turn(die="journaled"),
    "die acted": lambda driver: driver.turn(die="acted"),
    "lose an answer": _add("lose_answers"),
    "drop a submission": _add("drop_submits"),
    "silence": _set(is_silent=True),
    "speech": _set(is_silent=False),
    "accounting silent": _set(is_accounting_silent=True),
    "accounting speaks": _set(is_accounting_silent=False),
    "folders silent": _set(are_folders_silent=True),
    "folders answer": _set(are_folders_silent=False),
    "stuck": _set(stuck_releases=10),
    "finished jobs forgotten": lambda driver: driver.site.forget_finished(),
    "cancel": Driver.cancel,
    "crash: submission forgotten": lambda driver: driver.site.crash(forget="submission"),
    "crash: launch forgotten": lambda driver: driver.site.crash(forget="launch"),
    "crash: end forgotten": lambda driver: driver.site.crash(forget="end"),
    "state wiped": lambda driver: driver.site.wipe(),
    "operator cancels": _operator_cancels,
}
HARMLESS = [name for name in EVENTS if not name.startswith(("crash", "state", "operator", "cancel"))]


def heal(driver: Driver) -> None:
    world = driver.site.world
    world.is_silent = world.is_accounting_silent = world.are_folders_silent = False
    world.lose_answers = world.drop_submits = world.stuck_releases = 0


def check(driver: Driver) -> None:
    world, held = driver.site.world, driver.now_held
    marker = held.marker
    assert world.runs.get(marker, 0) <= 1, "ran twice"
    assert world.submits.get(marker, 0) <= held.tries, "submitted without a journaled intent"
    if held.phase is not Phase.ENDED or held.outcome is Outcome.LOST:
        return
    if world.runs.get(marker):
        ended = world.folders[marker]["ended"]
        assert ended is not None, "told the end of what runs"
        assert ended <= world.clock, "told the end of what runs"
    else:
        assert world.folders.get(marker, {"buried": held.tries == 0})["buried"], "told the end of what may still start"


def check_end(driver: Driver, ended: HeldAttempt) -> None:
    runs = driver.site.world.runs.get(ended.marker, 0)
    assert ended.outcome is not None
    assert not (ended.outcome in NOTHING_RAN and runs), "told that nothing ran"
    assert not (ended.outcome is Outcome.SUCCEEDED and not runs), "told success of what never ran"


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(list(EVENTS)), max_size=40))
def test_nothing_that_happens_makes_an_attempt_run_twice_or_never_end(events: list[str]) -> None:
    driver = Driver(FakeSite(), order(walltime_minutes=1))
    for event in events:
        EVENTS[event](driver)
        check(driver)
    heal(driver)
    ended = driver.until_ended()
    check_end(driver, ended)
    for _ in range(20):
        driver.turn()
        driver.site.tick()
        check(driver)
    assert driver.now_held == ended, "the end is final"
    left = [job for job in driver.site.world.jobs if job["state"] not in FINAL_STATES]
    assert not left, "nothing is left at the site"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(HARMLESS), max_size=40))
def test_without_lost_state_every_attempt_succeeds_exactly_once(events: list[str]) -> None:
    driver = Driver(FakeSite(), order(walltime_minutes=1))
    for event in events:
        EVENTS[event](driver)
        live = [job for job in driver.site.world.jobs if job["state"] not in FINAL_STATES]
        assert len(live) <= 1, "a second copy was made although the first was there"
    heal(driver)
    for job in driver.site.world.jobs:
        job["refusals"] = 0
    ended = driver.until_ended()
    # Five stuck copies in a row are a reason to give up; then nothing ran.
    if ended.outcome is Outcome.REJECTED:
        assert ended.tries >= driver.patience.tries
        assert driver.site.world.runs.get(ended.marker, 0) == 0
        return
    assert ended.outcome is Outcome.SUCCEEDED
    assert driver.site.world.runs == {ended.marker: 1}


@pytest.fixture
def driver() -> Driver:
    return Driver(FakeSite(), order())


def test_a_job_is_submitted_held_read_back_released_and_ends(driver: Driver) -> None:
    seen = []
    for _ in range(20):
        driver.turn()
        driver.site.tick()
        seen.append(driver.now_held.phase)
        if driver.now_held.phase is Phase.ENDED:
            break
    assert [phase for phase in Phase if phase in seen] == list(Phase)
    held = driver.now_held
    assert (held.outcome, held.exit_code, held.tries) == (Outcome.SUCCEEDED, 0, 1)
    assert held.is_accepted_as_ordered
    assert held.scheduler_gpu_ms == 2_000


def test_a_lost_answer_is_looked_up_and_not_repeated(driver: Driver) -> None:
    driver.site.world.lose_answers = 1
    ended = driver.until_ended()
    assert (ended.tries, ended.outcome) == (1, Outcome.SUCCEEDED)


def test_a_submission_that_never_arrived_is_repeated_once_its_absence_is_proven(driver: Driver) -> None:
    driver.site.world.drop_submits = 1
    driver.turn()
    for _ in range(2):
        driver.turn()
        assert driver.now_held.tries == 1, "one healthy answer proves nothing"
        driver.site.world.clock += 0.5
    ended = driver.until_ended()
    assert (ended.tries, ended.outcome) == (2, Outcome.SUCCEEDED)


def test_an_empty_queue_proves_nothing_while_accounting_is_silent(driver: Driver) -> None:
    driver.site.world.drop_submits = 1
    driver.turn()
    driver.site.world.is_accounting_silent = True
    for _ in range(30):
        driver.turn()
        driver.site.tick()
    assert driver.now_held.tries == 1
    assert driver.now_held.is_unanswered


def test_an_acknowledged_job_that_the_controller_forgot_is_submitted_again_under_the_same_id(driver: Driver) -> None:
    driver.turn()
    driver.site.crash(forget="submission")
    ended = driver.until_ended()
    assert (ended.tries, ended.outcome) == (2, Outcome.SUCCEEDED)
    assert ended.external_id == "1", "the site used the id again"


@pytest.mark.parametrize(
    ("distort", "word"),
    [
        ({"gpus": 4}, "4 GPUs instead of 1"),
        ({"gpus": 0}, "0 GPUs instead of 1"),
        ({"minutes": 576_000}, "576000 minutes instead of 10"),
        ({"tasks": 10}, "10 tasks instead of 1"),
        ({"nodes": 2}, "2 nodes instead of 1"),
        ({"gpus": None}, "does not tell what it accepted"),
    ],
)
def test_what_was_accepted_otherwise_than_ordered_never_runs(
    driver: Driver, distort: dict[str, int], word: str
) -> None:
    driver.site.world.distort = distort
    ended = driver.until_ended()
    assert ended.outcome is Outcome.REJECTED
    assert ended.reason is not None
    assert word in ended.reason
    assert not driver.site.world.runs
    assert driver.site.world.jobs[0]["state"] == "cancelled"


def test_a_refusal_of_the_site_is_the_end_with_its_sentence(driver: Driver) -> None:
    driver.site.world.refuse = "Invalid account."
    ended = driver.until_ended()
    assert (ended.outcome, ended.reason) == (Outcome.REJECTED, "Invalid account.")


def test_an_impossible_job_is_taken_back(driver: Driver) -> None:
    driver.site.world.distort = {"state": "impossible", "reason": "BadConstraints"}
    ended = driver.until_ended()
    assert ended.outcome is Outcome.REJECTED
    assert "BadConstraints" in (ended.reason or "")


def test_a_held_job_that_cannot_be_released_is_replaced(driver: Driver) -> None:
    driver.site.world.stuck_releases = 100
    driver.turn()
    driver.site.world.stuck_releases = 0
    ended = driver.until_ended()
    assert (ended.outcome, ended.tries, len(ended.discarded)) == (Outcome.SUCCEEDED, 2, 1)


def test_a_site_that_never_lets_a_job_go_gets_it_no_more(driver: Driver) -> None:
    driver.site.world.stuck_releases = 1_000
    ended = driver.until_ended(2_000)
    assert (ended.outcome, ended.tries) == (Outcome.REJECTED, driver.patience.tries)


def test_an_operators_hold_is_respected(driver: Driver) -> None:
    driver.site.world.distort = {"reason": "JobHeldAdmin"}
    for _ in range(50):
        driver.turn()
        driver.site.tick()
    assert driver.now_held.phase is Phase.SUBMITTED
    assert driver.now_held.revoke is not Revoke.AGAIN
    assert driver.site.world.jobs[0]["state"] == "held"


@pytest.mark.parametrize("turns", range(8))
def test_a_cancel_is_confirmed_in_every_state(driver: Driver, turns: int) -> None:
    driver.site.world.run_for = 100
    for _ in range(turns):
        driver.turn()
        driver.site.tick()
    driver.cancel()
    ended = driver.until_ended()
    assert ended.outcome is Outcome.CANCELLED
    assert all(job["state"] == "cancelled" for job in driver.site.world.jobs)
    if not driver.site.world.runs:
        assert driver.site.read_folder(ended.marker).is_buried, "it can never start late"


def test_a_cancel_that_comes_after_the_end_changes_nothing(driver: Driver) -> None:
    ended = driver.until_ended()
    driver.cancel()
    driver.turn()
    assert driver.now_held == ended


def test_a_cancel_waits_for_a_silent_site(driver: Driver) -> None:
    driver.turn()
    driver.site.world.is_silent = True
    driver.cancel()
    for _ in range(10):
        driver.turn()
        driver.site.tick()
    assert driver.now_held.phase is not Phase.ENDED, "no answer is no proof"
    assert driver.site.read_folder(driver.order.marker).is_buried, "but nothing can start meanwhile"
    driver.site.world.is_silent = False
    assert driver.until_ended().outcome is Outcome.CANCELLED


def test_a_second_copy_is_cancelled_and_the_one_that_runs_is_kept(driver: Driver) -> None:
    driver.turn()
    driver.site.submit(driver.order)
    driver.site.release(["2"])
    driver.site.tick()
    ended = driver.until_ended()
    assert ended.external_id == "2"
    assert [job["state"] for job in driver.site.world.jobs] == ["cancelled", "completed"]


def test_a_copy_that_comes_back_after_the_owner_has_ended_never_starts(driver: Driver) -> None:
    while not driver.site.world.runs:
        driver.turn()
        driver.site.tick()
    for _ in range(5):
        driver.site.tick()
    driver.site.submit(driver.order)
    ended = driver.until_ended()
    assert (ended.external_id, ended.outcome) == ("1", Outcome.SUCCEEDED)
    assert driver.site.world.jobs[1]["state"] == "cancelled"
    assert not driver.site.world.folders[ended.marker]["duplicates"], "it was not even launched"


def test_a_cancel_waits_for_a_file_system_that_does_not_answer(driver: Driver) -> None:
    driver.turn()
    driver.site.world.are_folders_silent = True
    driver.cancel()
    for _ in range(20):
        driver.turn()
        driver.site.tick()
    assert driver.now_held.phase is not Phase.ENDED, "it might still start"
    driver.site.world.are_folders_silent = False
    assert driver.until_ended().outcome is Outcome.CANCELLED


def test_a_launch_that_the_controller_forgot_ends_as_its_stamps_say(driver: Driver) -> None:
    driver.site.world.run_for = 20
    while not driver.site.world.runs:
        driver.turn()
        driver.site.tick()
    driver.site.crash(forget="launch")
    ended = driver.until_ended()
    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.duplicate_ids == ("1",)
    assert driver.site.world.clock >= driver.site.world.folders[ended.marker]["ended"], "not before it was over"
    assert driver.site.world.runs[ended.marker] == 1


def test_a_running_job_that_vanished_without_an_end_is_lost_after_its_wall_time() -> None:
    driver = Driver(FakeSite(), order(walltime_minutes=1))
    driver.site.world.run_for = 1_000
    while driver.now_held.phase is not Phase.RUNNING:
        driver.turn()
        driver.site.tick()
    driver.site.wipe()
    started = driver.site.world.clock
    ended = driver.until_ended()
    assert ended.outcome is Outcome.LOST
    assert driver.site.world.clock - started >= 60


def test_a_job_that_ended_while_the_agent_was_away_is_read_from_accounting(driver: Driver) -> None:
    while not driver.site.world.runs:
        driver.turn()
        driver.site.tick()
    for _ in range(5):
        driver.site.tick()
    driver.site.forget_finished()
    ended = driver.until_ended()
    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.scheduler_gpu_ms is None, "accounting is another witness and is not copied from"


def test_a_job_that_somebody_cancelled_before_it_started_is_cancelled_for_good(driver: Driver) -> None:
    driver.turn()
    driver.turn()
    driver.site.cancel(["1"])
    ended = driver.until_ended()
    assert ended.outcome is Outcome.CANCELLED
    assert driver.site.read_folder(ended.marker).is_buried


@pytest.mark.parametrize("told", ["cancelled", "timeout"])
def test_an_end_that_the_controller_lost_does_not_spoil_the_scripts_own(driver: Driver, told: str) -> None:
    while not driver.site.world.runs:
        driver.turn()
        driver.site.tick()
    driver.site.tick()
    driver.site.tick()
    job = driver.site.world.jobs[0]
    # It shows the job running, and ends it much later in its own way.
    driver.site.world.clock += 60
    job.update(state=told, ended=driver.site.world.clock, exit_code=0)
    ended = driver.until_ended()
    assert (ended.outcome, ended.exit_code) == (Outcome.SUCCEEDED, 0)
    assert "lost the job's end" in (ended.reason or "")


def test_a_script_that_catches_its_time_limit_and_ends_with_0_has_still_run_out_of_time(driver: Driver) -> None:
    while not driver.site.world.runs:
        driver.turn()
        driver.site.tick()
    driver.site.tick()
    driver.site.tick()
    driver.site.world.jobs[0].update(state="timeout")
    assert driver.until_ended().outcome is Outcome.TIMEOUT


def test_a_launch_that_came_to_nothing_is_tried_again(driver: Driver) -> None:
    driver.turn()
    driver.turn()
    # The node still had a job of this id: Slurm itself cancels the new one.
    driver.site.world.jobs[0].update(state="cancelled", started=1.0, ended=1.0)
    ended = driver.until_ended()
    assert (ended.outcome, ended.tries) == (Outcome.SUCCEEDED, 2)


def test_a_site_where_no_launch_ever_works_is_at_fault(driver: Driver) -> None:
    driver.site.world.distort = {"state": "failed", "started": 1.0, "ended": 2.0}
    ended = driver.until_ended()
    assert (ended.outcome, ended.tries) == (Outcome.NODE_FAIL, driver.patience.tries)
    assert "shared with the nodes" in (ended.reason or "")
    assert driver.site.read_folder(ended.marker).is_buried
