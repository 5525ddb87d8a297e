# ruff: noqa: D102, PLR2004  a test's name is its sentence, and its numbers are the example
"""Does a connector keep its promises at a real site? The suite that its author runs.

Subclass ConnectorConformance in a test file and give it a pytest fixture named `trial`:

    class TestMyConnector(ConnectorConformance):
        @pytest.fixture
        def trial(self):
            trial = Trial(connect({...}), order=one_that_fits, full=one_that_takes_every_gpu)
            yield trial
            trial.clean_up()

Every test submits jobs of a few seconds. What a connector cannot do is skipped with the reason. Nothing here needs
pytest itself: a claim that does not hold raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from unittest import SkipTest

from cesai.contract.connector import (
    FINAL,
    ExaminesItself,
    HasEpoch,
    Launch,
    SiteState,
    SubmitRefused,
    TellsCapacity,
    TellsUsage,
)
from cesai.contract.messages import AttemptOrder, Launcher
from cesai.contract.trial import Trial, claim
from cesai.kernel.ids import marker, new_id

HOSTILE = {
    "QUOTES": 'it\'s "here"',
    "LINES": "one\ntwo\n",
    "COMMAS": "a,LD_PRELOAD=/nowhere.so",
    "SIGNS": "$(touch pwned) `touch pwned` ; touch pwned & | > pwned \\ * ~ %j",
    "LETTERS": "Jülich – 計算",
    "EMPTY": "",
}
BAD_WORDS = ("x\ny", "x;touch pwned", "$(id)", "../up", "-x", "", "x\0y", "x y", "x,y")
_RAN = b"the script ran"
_RUNS = f"#!/bin/sh\necho '{_RAN.decode()}'\n"
_WAITS = f"{_RUNS}exec sleep 120\n"
_SAVES = """#!/bin/sh
trap 'echo saved >"$CESAI_CHECKPOINT_DIR/state"; echo "asked to stop"; exit 3' TERM
echo 'the script ran'
while :; do sleep 0.1; done
"""


class ConnectorConformance:
    """The promises of the contract, one test each."""

    # -- running

    def test_a_submitted_job_is_held_and_told_as_it_was_ordered(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        external_id = trial.hold(order)
        job = trial.job(order)
        claim(holds=job.state is SiteState.HELD, sentence=f"it is held until it is released, not {job}")
        claim(holds=job.external_id == external_id, sentence=f"the id told was {external_id}, the job has {job}")
        claim(holds=job.tasks == 1 and job.nodes == order.nodes, sentence=f"as many nodes as ordered: {job}")
        claim(holds=job.gpus == order.nodes * order.gpus_per_node, sentence=f"as many GPUs as ordered: {job}")
        claim(holds=job.walltime_minutes == order.walltime_minutes, sentence=f"the wall time as ordered: {job}")
        claim(holds=job.submit_time is not None, sentence="a job has a submit time: part of its identity")
        claim(holds=job.started_at is None and job.ended_at is None, sentence=f"it has not begun: {job}")

    def test_it_runs_when_released_and_its_success_is_told(self, trial: Trial) -> None:
        order, job = trial.run(_RUNS)
        claim(holds=(job.state, job.exit_code) == (SiteState.COMPLETED, 0), sentence=f"a success, not {job}")
        claim(holds=job.started_at is not None and job.ended_at is not None, sentence=f"start and end are told: {job}")
        claim(holds=trial.log(order).count(_RAN) == 1, sentence=f"the script ran once, its log is {trial.log(order)!r}")

    def test_the_scripts_own_exit_code_is_handed_on(self, trial: Trial) -> None:
        order, job = trial.run("#!/bin/sh\nexit 7\n")
        claim(holds=(job.state, job.exit_code) == (SiteState.FAILED, 7), sentence=f"exit 7 is a failure, not {job}")
        stamps = trial.folders.read_folder(order.marker).stamps
        claim(holds=stamps is not None and stamps.exit_code == 7, sentence=f"the wrapper wrote 7 down, not {stamps}")

    def test_a_released_job_may_be_released_and_cancelled_again(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        external_id = trial.start(order)
        trial.runs.release([external_id])
        trial.end(order)
        trial.runs.cancel([external_id])
        claim(holds=trial.end(order).state is SiteState.COMPLETED, sentence="a late cancel changes no past")

    # -- looking

    def test_a_marker_that_was_never_submitted_is_not_found(self, trial: Trial) -> None:
        seen = trial.runs.observe([marker(new_id(), 1)], trial.since)
        claim(holds=seen.queue_answered and seen.accounting_answered, sentence="both answer, so its absence is told")
        claim(holds=seen.jobs == (), sentence=f"nobody's job is taken for it: {seen.jobs}")

    def test_a_question_for_nothing_tells_whether_the_site_answers(self, trial: Trial) -> None:
        seen = trial.runs.observe([], trial.since)
        claim(holds=seen.queue_answered and seen.accounting_answered and not seen.jobs, sentence=f"it answers: {seen}")

    def test_markers_are_compared_exactly(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        trial.hold(order)
        trial.job(order)
        seen = trial.runs.observe([order.marker[:-1], f"{order.marker}1"], trial.since)
        claim(holds=seen.jobs == (), sentence=f"a marker that only begins alike is another one: {seen.jobs}")

    # -- exactly once

    def test_two_submissions_of_one_attempt_run_its_script_once(self, trial: Trial) -> None:
        order = trial.make(f"{_RUNS}sleep 1\n")
        ids = [trial.hold(order)]
        with suppress(SubmitRefused):
            ids.append(trial.runs.submit(order))
        trial.runs.release(ids)
        jobs = trial.reach(order, FINAL)
        claim(holds=len({job.external_id for job in jobs}) == len(ids), sentence=f"both are found: {jobs}")
        reading = trial.folders.read_folder(order.marker)
        claim(holds=trial.log(order).count(_RAN) == 1, sentence=f"the script ran once: {trial.log(order)!r}")
        claim(holds=reading.owner in ids, sentence=f"one of {ids} holds the fence: {reading}")
        others = tuple(job for job in ids if job != reading.owner)
        claim(holds=reading.duplicate_ids == others, sentence=f"the other ended as a duplicate: {reading}")
        claim(holds=all(job.state is SiteState.COMPLETED for job in jobs), sentence=f"and quietly: {jobs}")

    def test_preparing_again_changes_nothing(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        trial.runs.prepare(order)
        before = trial.folders.read_folder(order.marker)
        trial.start(order)
        trial.end(order)
        trial.runs.prepare(order)
        after = trial.folders.read_folder(order.marker)
        claim(holds=before.is_prepared and before.owner is None, sentence=f"prepared, and no launch yet: {before}")
        claim(holds=after.owner is not None and after.stamps is not None, sentence=f"the fence is kept: {after}")

    def test_what_is_buried_before_its_start_never_runs(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        trial.hold(order)
        claim(holds=trial.folders.bury(order.marker), sentence="no launch holds the fence, so it can be buried")
        trial.runs.release([trial.job(order).external_id])
        trial.end(order)
        reading = trial.folders.read_folder(order.marker)
        claim(holds=_RAN not in trial.log(order), sentence="its script did not run")
        claim(holds=reading.is_buried and reading.owner is None, sentence=f"the tombstone stands: {reading}")
        claim(holds=len(reading.duplicate_ids) == 1, sentence=f"the launch that came late is told: {reading}")

    def test_what_is_buried_is_not_prepared(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        claim(holds=trial.folders.bury(order.marker), sentence="an attempt that nobody prepared can be buried")
        claim(holds=trial.folders.read_folder(order.marker).is_buried, sentence="and its tombstone is read")
        _expect_refusal(trial, order, "a buried attempt is not prepared")
        claim(holds=trial.folders.bury(order.marker), sentence="burying again says the same")

    def test_what_runs_cannot_be_buried(self, trial: Trial) -> None:
        order = trial.make(_WAITS)
        trial.start(order)
        trial.fence(order)
        claim(holds=not trial.folders.bury(order.marker), sentence="a launch holds the fence: too late to bury")
        claim(holds=not trial.folders.read_folder(order.marker).is_buried, sentence="and no tombstone is left")

    # -- cancelling

    def test_a_held_job_can_be_cancelled(self, trial: Trial) -> None:
        order = trial.make(_RUNS)
        trial.runs.cancel([trial.hold(order)])
        job = trial.end(order)
        claim(holds=job.state is SiteState.CANCELLED, sentence=f"cancelled, not {job}")
        claim(holds=trial.folders.read_folder(order.marker).owner is None, sentence="nothing ran")

    def test_a_waiting_job_can_be_cancelled(self, trial: Trial) -> None:
        filler = trial.fill()
        trial.start(filler)
        trial.reach(filler, [SiteState.RUNNING])
        order = trial.make(_RUNS)
        external_id = trial.start(order)
        trial.reach(order, [SiteState.PENDING])
        trial.until(lambda: trial.job(order).reason, what="a waiting job has a reason")
        trial.runs.cancel([external_id])
        claim(holds=trial.end(order).state is SiteState.CANCELLED, sentence="cancelled while it waited")

    def test_a_running_job_is_asked_to_stop_and_may_save_its_state(self, trial: Trial) -> None:
        order = trial.make(_SAVES)
        external_id = trial.start(order)
        trial.await_log(order, _RAN)
        trial.runs.cancel([external_id])
        job = trial.end(order)
        claim(holds=job.state is SiteState.CANCELLED, sentence=f"cancelled, not {job}")
        claim(holds=b"asked to stop" in trial.log(order), sentence=f"the script was asked: {trial.log(order)!r}")
        stamps = trial.folders.read_folder(order.marker).stamps
        claim(holds=stamps is not None and stamps.exit_code == 3, sentence=f"its end is written down: {stamps}")

    # -- what the script gets

    def test_hostile_values_arrive_as_they_are_and_run_nothing(self, trial: Trial) -> None:
        shown = "".join(f'printf "%s\\0" "${name}"\n' for name in HOSTILE)
        order, job = trial.run(f"#!/bin/sh\nprintf '<<<'\n{shown}printf '>>>'\nls\nls pwned\n", environment=HOSTILE)
        inside = trial.log(order).partition(b"<<<")[2].partition(b">>>")[0]
        values = inside.split(b"\0")[:-1]
        claim(
            holds=values == [value.encode() for value in HOSTILE.values()],
            sentence=f"each value byte for byte: {values}",
        )
        claim(
            holds=job.state is SiteState.FAILED, sentence=f"no file `pwned` was made, `ls` fails: {trial.log(order)!r}"
        )

    def test_the_environment_is_the_jobs_own(self, trial: Trial) -> None:
        script = """#!/bin/sh
for name in PATH HOME USER CESAI_JOB_MARKER CESAI_CHECKPOINT_DIR CESAI_RESUME_FROM CESAI_PROJECT_DIR; do
    eval "echo $name=\\$$name"
done
[ -d "$CESAI_CHECKPOINT_DIR" ] && [ -w "$CESAI_CHECKPOINT_DIR" ] && env
"""
        order, job = trial.run(script, checkpoint_folder="runs/one", resume_from="runs/zero")
        lines = dict(line.partition("=")[::2] for line in trial.log(order).decode().splitlines())
        claim(holds=job.state is SiteState.COMPLETED, sentence=f"the checkpoint folder can be written to: {lines}")
        claim(holds=lines["CESAI_JOB_MARKER"] == order.marker, sentence="the job knows its marker")
        claim(holds=all(lines[name] for name in ("PATH", "HOME", "USER")), sentence=f"a usual start: {lines}")
        project = lines["CESAI_PROJECT_DIR"]
        claim(holds=lines["CESAI_CHECKPOINT_DIR"] == f"{project}/runs/one", sentence="checkpoints lie in the project")
        claim(holds=lines["CESAI_RESUME_FROM"] == f"{project}/runs/zero", sentence="so do those it resumes from")
        leaked = [name for name in lines if name.startswith(("SBATCH_", "CESAI_DATABASE", "PYTHON"))]
        claim(holds=not leaked, sentence=f"nothing of the agent's own: {leaked}")

    def test_words_that_are_no_words_are_refused_before_anything_is_made(self, trial: Trial) -> None:
        for word in BAD_WORDS:
            for place in ("account", "partition"):
                _expect_refusal(trial, trial.make(_RUNS, **{place: word}), f"{place} {word!r}")
        for name in ("LD_PRELOAD", "PATH", "SLURM_CONF", "A B", "A=B", "", "A\nB"):
            _expect_refusal(trial, trial.make(_RUNS, environment={name: "x"}), f"variable {name!r}")
        for text in ("a\0b", "a\ud800b"):
            _expect_refusal(trial, trial.make(_RUNS, environment={"A": text}), f"value {text!r}")
            _expect_refusal(trial, trial.make(f"{_RUNS}# {text}"), f"script with {text!r}")
        for folder in ("/etc", "../other", "a/../../b", "a\nb"):
            _expect_refusal(trial, trial.make(_RUNS, checkpoint_folder=folder), f"folder {folder!r}")

    def test_an_unknown_account_is_refused_or_never_runs(self, trial: Trial) -> None:
        order = trial.make(_RUNS, account="nobody-has-this")
        _expect_no_run(trial, order)

    def test_more_gpus_than_any_node_has_are_refused_or_never_run(self, trial: Trial) -> None:
        order = trial.make(_RUNS, gpus_per_node=63, charged_gpus=63)
        _expect_no_run(trial, order)

    def test_directives_in_the_script_have_no_effect(self, trial: Trial) -> None:
        script = "#!/bin/sh\n#SBATCH --array=0-3\n#SBATCH --time=400\n#SBATCH --gres=none\n#SBATCH --output=elsewhere\n"
        order, job = trial.run(f"{script}echo '{_RAN.decode()}'\n")
        claim(holds=trial.log(order).count(_RAN) == 1, sentence=f"it ran once: {trial.log(order)!r}")
        claim(holds=job.walltime_minutes == order.walltime_minutes, sentence=f"for the ordered time: {job}")

    # -- launchers

    def test_srun_starts_one_task_per_gpu(self, trial: Trial) -> None:
        script = '#!/bin/sh\necho "rank $SLURM_PROCID of $SLURM_NTASKS, PATH=$PATH"\n'
        order, job = trial.run(script, launcher=Launcher.SRUN)
        gpus = order.nodes * order.gpus_per_node
        log = trial.log(order).decode()
        claim(holds=job.state is SiteState.COMPLETED, sentence=f"{job}: {log}")
        claim(
            holds=all(f"rank {n} of {gpus}, PATH=/" in log for n in range(gpus)), sentence=f"each rank with PATH: {log}"
        )

    def test_a_rank_that_fails_fails_the_job(self, trial: Trial) -> None:
        script = '#!/bin/sh\n[ "$SLURM_PROCID" = 0 ] && exit 5\nexec sleep 60\n'
        order, job = trial.run(script, launcher=Launcher.SRUN)
        claim(holds=job.state is SiteState.FAILED, sentence=f"it fails at once: {job} {trial.log(order)!r}")

    def test_an_srun_inside_the_script_works_and_its_failure_fails_the_job(self, trial: Trial) -> None:
        order, job = trial.run("#!/bin/sh\nsrun sh -c 'command -v sh'\n")
        claim(holds=job.state is SiteState.COMPLETED, sentence=f"{job}: {trial.log(order)!r}")
        order, job = trial.run("#!/bin/sh\nexec srun sh -c 'exit 9'\n")
        claim(holds=(job.state, job.exit_code) == (SiteState.FAILED, 9), sentence=f"{job}: {trial.log(order)!r}")

    # -- logs

    def test_a_log_is_read_in_ranges(self, trial: Trial) -> None:
        order = trial.make("#!/bin/sh\nprintf 0123456789\n")
        read = trial.folders.read_log
        claim(holds=read(order.marker, offset=0, limit=9) == b"", sentence="a log that is not there is empty")
        trial.start(order)
        trial.end(order)
        trial.await_log(order, b"0123456789")
        ranges = (read(order.marker, offset=0, limit=4), read(order.marker, offset=4, limit=100))
        claim(holds=ranges == (b"0123", b"456789"), sentence=f"ranges fit together: {ranges}")
        claim(holds=read(order.marker, offset=10, limit=9) == b"", sentence="behind its end it is empty")

    # -- what it costs

    def test_every_launch_is_told_with_what_it_used(self, trial: Trial) -> None:
        order = trial.make(f"{_RUNS}sleep 2\n")
        ids = [trial.hold(order)]
        with suppress(SubmitRefused):
            ids.append(trial.runs.submit(order))
        trial.runs.release(ids)
        trial.reach(order, FINAL)
        rows = trial.until(lambda: _final_rows(trial, order, count=len(ids)), what="accounting has every launch")
        owner = trial.folders.read_folder(order.marker).owner
        for row in rows:
            claim(holds=row.account == order.account, sentence=f"under its account: {row}")
            claim(holds=row.gpus == order.charged_gpus, sentence=f"with the GPUs that are charged: {row}")
            claim(holds=row.started_at is not None and row.ended_at is not None, sentence=f"from when to when: {row}")
        claim(holds=[row.elapsed_s >= 2 for row in rows if row.external_id == owner] == [True], sentence=f"{rows}")
        claim(holds=_usage(trial, ["nobody-has-this"]) == (), sentence="an account without jobs has no rows")

    def test_stamps_and_accounting_agree(self, trial: Trial) -> None:
        order, job = trial.run("#!/bin/sh\nsleep 3\n")
        row = trial.until(lambda: _final_rows(trial, order, count=1), what="accounting has the launch")[0]
        stamps = trial.folders.read_folder(order.marker).stamps
        if stamps is None or stamps.ended_at is None or job.started_at is None or job.ended_at is None:
            msg = f"start and end are written down: {stamps}, {job}"
            raise AssertionError(msg)
        wrapper_s = (stamps.ended_at - stamps.started_at).total_seconds()
        claim(
            holds=3 <= wrapper_s <= row.elapsed_s + 1, sentence=f"wrapper {wrapper_s} s, accounting {row.elapsed_s} s"
        )
        claim(holds=wrapper_s >= row.elapsed_s - 5, sentence=f"wrapper {wrapper_s} s, accounting {row.elapsed_s} s")
        own = job.ended_at - job.started_at
        claim(holds=abs(own - timedelta(seconds=row.elapsed_s)) <= timedelta(seconds=1), sentence=f"{own} and {row}")

    # -- what there is

    def test_capacity_is_told_and_running_work_takes_from_it(self, trial: Trial) -> None:
        connector = trial.connector
        if not isinstance(connector, TellsCapacity):
            msg = "this connector tells no capacity"
            raise SkipTest(msg)
        order = trial.make(_WAITS)
        trial.start(order)
        trial.fence(order)
        snapshot = connector.capacity()
        pool = next(
            (p for p in snapshot.pools if (p.partition, p.gres_type) == (order.partition, order.gres_type)), None
        )
        if pool is None:
            msg = f"the order's pool is told: {snapshot.pools}"
            raise AssertionError(msg)
        claim(holds=0 < pool.gpus_up <= pool.gpus and pool.nodes_up <= pool.nodes, sentence=f"{pool}")
        claim(holds=pool.gpus_free <= pool.gpus_up - order.charged_gpus, sentence=f"its GPUs are not free: {pool}")
        mine = [work for work in snapshot.running if work.marker == order.marker]
        claim(holds=[work.gpus for work in mine] == [order.charged_gpus], sentence=f"it is running work: {snapshot}")
        claim(holds=mine[0].ends_by > snapshot.taken_at, sentence="running work ends in the future")

    def test_the_sites_identity_is_the_same_when_asked_again(self, trial: Trial) -> None:
        connector = trial.connector
        if not isinstance(connector, HasEpoch):
            msg = "this connector knows no epoch"
            raise SkipTest(msg)
        before = connector.cluster_identity()
        trial.run(_RUNS)
        claim(holds=connector.cluster_identity() == before != "", sentence="a job does not change it")

    def test_it_says_what_is_missing_and_how_to_mend_it(self, trial: Trial) -> None:
        connector = trial.connector
        if not isinstance(connector, ExaminesItself):
            msg = "this connector does not examine itself"
            raise SkipTest(msg)
        findings = connector.examine()
        claim(holds=len(findings) > 0, sentence="it has something to say")
        for finding in findings:
            claim(holds=finding.is_ok is not False or bool(finding.mend), sentence=f"how is it mended? {finding}")


def _expect_refusal(trial: Trial, order: AttemptOrder, what: str) -> None:
    for step in (trial.runs.prepare, trial.runs.submit):
        try:
            step(order)
        except SubmitRefused as refused:
            claim(holds=str(refused).strip() != "", sentence="a refusal has a sentence")
            break
    else:
        msg = f"it is refused: {what}"
        raise AssertionError(msg)
    claim(holds=not trial.look(order), sentence=f"nothing was submitted: {what}")
    trial.orders.remove(order)


def _expect_no_run(trial: Trial, order: AttemptOrder) -> None:
    try:
        trial.start(order)
    except SubmitRefused as refused:
        claim(holds=str(refused).strip() != "", sentence="a refusal has a sentence")
        return
    trial.reach(order, [SiteState.IMPOSSIBLE])


def _usage(trial: Trial, accounts: Sequence[str]) -> tuple[Launch, ...]:
    if not isinstance(trial.connector, TellsUsage):
        msg = "this connector tells no usage"
        raise SkipTest(msg)
    return trial.connector.usage(accounts, trial.since)


def _final_rows(trial: Trial, order: AttemptOrder, *, count: int) -> tuple[Launch, ...]:
    rows = [row for row in _usage(trial, [order.account]) if row.name == order.marker and row.is_final]
    return tuple(rows) if len(rows) == count else ()
