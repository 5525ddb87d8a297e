"""What can be asked about jobs?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cesai.client.answers import Attempt, Job, Place
from cesai.client.exits import BadInput, Exit, of_job
from cesai.client.finding import find_job, short
from cesai.client.jobfile import TEMPLATE, read_job_file
from cesai.client.tables import Column, print_fields, print_json, print_table, tame
from cesai.client.texts import Texts
from cesai.client.visit import SHOWN, Visit, command, tell
from cesai.client.watching import Watcher, progress

app = typer.Typer(no_args_is_help=True, help="Jobs: submit, look, follow, cancel.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, or six characters of its beginning or end.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for its end; the exit code tells how it ended.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Write its log as it comes, until its end.")]


@command(app)
def submit(
    visit: Visit,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Job file in YAML or JSON; - is standard input.")],
    *,
    wait: WaitOption = False,
    follow: FollowOption = False,
    resume: Annotated[
        str | None, typer.Option(metavar="JOB", help="Go on from this job's checkpoints; over the file's resume.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Name of this wish: the same one again makes no second job (for pipelines).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file, here; send nothing.")] = False,
) -> None:
    """Submit a job; its id is the answer."""
    earlier = find_job(visit.hub.jobs, resume, visit.texts) if resume else None
    wish = read_job_file(file, visit.texts, resume=earlier)
    if dry_run:
        visit.say("file_is_good", file=file)
        return
    job = visit.hub.jobs.submit(wish, key=key)
    is_watched = wait or follow
    if not visit.as_json:
        sys.stdout.write(job.id + "\n")
        sys.stdout.flush()
    elif not is_watched:
        print_json(job)
    if is_watched:
        _watch(visit, job.id, is_followed=follow)


@command(app, "list")
def list_jobs(
    visit: Visit,
    *,
    project: Annotated[str | None, typer.Option(help="Of this project only.")] = None,
    state: Annotated[str | None, typer.Option(help="In this state only, like RUNNING.")] = None,
    site: Annotated[str | None, typer.Option(help="With an attempt at this site only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Jobs that you may see, newest first."""
    visit.list(
        visit.hub.jobs.list(project=project, state=state.upper() if state else None, site=site),
        [
            Column("job", lambda job: short(job.id)),
            Column("name", lambda job: job.name),
            Column("project", lambda job: job.project),
            Column("state", lambda job: job.state),
            Column("site", lambda job: job.attempts[-1].site if job.attempts else "–"),
            Column("GPUs", _gpus, is_number=True),
            Column("submitted", lambda job: visit.texts.instant(job.created_at)),
        ],
        limit=None if everything else limit,
    )


@command(app)
def show(visit: Visit, job: JobId, *, wait: WaitOption = False) -> None:
    """One job with its attempts, and what each cost."""
    whole = find_job(visit.hub.jobs, job, visit.texts)
    if wait:
        _watch(visit, whole, is_followed=False)
    found = visit.hub.jobs.show(whole)
    if visit.as_json:
        print_json(found)
        return
    print_fields(_fields(found, visit.texts))
    print_table(found.attempts, _attempt_columns(visit.texts))


@command(app)
def logs(
    visit: Visit,
    job: JobId,
    *,
    follow: FollowOption = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Of this attempt; otherwise of the last one.")] = None,
) -> None:
    """What the job has written."""
    whole = find_job(visit.hub.jobs, job, visit.texts)
    watcher = _watcher(visit)
    if follow:
        watcher.follow(whole, sys.stdout.buffer, attempt=attempt)
    elif not watcher.write_log(whole, sys.stdout.buffer, attempt=attempt):
        visit.say("follow_nothing", job=job)


@command(app)
def cancel(
    visit: Visit,
    job: JobId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; the others in the project read it.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its site has confirmed.")] = False,
) -> None:
    """End a job, in whichever state it is."""
    whole = find_job(visit.hub.jobs, job, visit.texts)
    found = visit.hub.jobs.cancel(whole, reason=reason)
    if wait:
        found = _watcher(visit).wait(whole)
    elif not visit.as_json:
        visit.say("cancel_wished")
    if visit.as_json:
        print_json(found)


@command(app)
def why(visit: Visit, job: JobId) -> None:
    """Why it waits, or why it ended as it did."""
    whole = find_job(visit.hub.jobs, job, visit.texts)
    answer = visit.hub.jobs.why(whole)
    if visit.as_json:
        print_json(answer)
        return
    sys.stdout.write(tame(f"{answer.state}: {answer.reason or '–'}") + "\n")
    columns: list[Column[Place]] = [
        Column("site", lambda place: place.site_id),
        Column("partition", lambda place: place.partition),
        Column("class", lambda place: place.gpu_class),
        Column("GPUs free", lambda place: place.gpus_free, is_number=True),
        Column("asked", lambda place: place.gpus_asked, is_number=True),
        Column("stands against it", lambda place: place.obstacle),
    ]
    print_table(answer.places, columns)


@command(app)
def events(visit: Visit, job: JobId) -> None:
    """What happened to it, in order."""
    whole = find_job(visit.hub.jobs, job, visit.texts)
    visit.list(
        visit.hub.jobs.events(whole),
        [
            Column("at", lambda each: visit.texts.instant(each.at)),
            Column("what", lambda each: each.kind),
            Column("cause", lambda each: each.cause),
            Column("by", lambda each: each.actor),
        ],
    )


@command(app)
def template(
    visit: Visit, file: Annotated[Path | None, typer.Argument(help="Where to; otherwise standard output.")] = None
) -> None:
    """A job file to begin with."""
    if file is None:
        sys.stdout.write(TEMPLATE)
        return
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(TEMPLATE)
    except OSError as error:
        raise BadInput(visit.texts("not_written", file=file, reason=error.strerror)) from None
    visit.done()


def _watcher(visit: Visit) -> Watcher:
    return Watcher(visit.hub.jobs, visit.texts, say=tell)


def _watch(visit: Visit, job_id: str, *, is_followed: bool) -> NoReturn:
    """Stay until the job is over, then end with the number that tells how."""
    watcher = _watcher(visit)
    try:
        if is_followed:
            # With --json standard output is for the answer alone.
            watcher.follow(job_id, sys.stderr.buffer if visit.as_json else sys.stdout.buffer)
        job = watcher.wait(job_id)
    except KeyboardInterrupt:
        visit.say("interrupted")
        raise typer.Exit(Exit.INTERRUPTED) from None
    if visit.as_json:
        print_json(job)
    raise typer.Exit(of_job(job.state))


def _gpus(job: Job) -> str:
    classes = "|".join(job.gpu_class)
    return f"{(job.nodes or 0) * (job.gpus_per_node or 0)} {classes}"


def _fields(job: Job, texts: Texts) -> list[tuple[str, object]]:
    return [
        ("job", job.id),
        ("name", job.name),
        ("project", job.project),
        ("state", f"{job.state} – {progress(job, texts)}"),
        ("cause", job.cause),
        ("asked for", f"{job.nodes} × {job.gpus_per_node} {'|'.join(job.gpu_class)}"),
        ("wall time", texts.span((job.walltime_minutes or 0) * 60)),
        ("resumes", job.resume),
        ("submitted", f"{texts.instant(job.created_at)} ({job.created_by or '–'})"),
    ]


def _attempt_columns(texts: Texts) -> list[Column[Attempt]]:
    return [
        Column("attempt", lambda each: each.number, is_number=True),
        Column("site", lambda each: each.site),
        Column("there", lambda each: each.external_id),
        Column("state", lambda each: each.outcome or each.state),
        Column("exit", lambda each: each.exit_code, is_number=True),
        Column("started", lambda each: texts.instant(each.started_at)),
        Column("ended", lambda each: texts.instant(each.ended_at)),
        Column("reserved", lambda each: texts.hours(each.gpu_ms_reserved), is_number=True),
        Column("settled", lambda each: texts.hours(each.gpu_ms_settled), is_number=True),
        Column("reason", lambda each: each.reason),
    ]
