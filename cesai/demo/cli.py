"""How is the whole acted out by one command?"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cesai.demo import machine, runtime
from cesai.demo.acts.books import Books
from cesai.demo.acts.setting import Setting
from cesai.demo.acts.work import Work
from cesai.demo.machine import CannotInstall
from cesai.demo.programs import CannotInstallPrograms
from cesai.demo.runtime import CHECKOUT, Runtime, RuntimeTrouble
from cesai.demo.stage import Stage
from cesai.demo.steps import Programme

app = typer.Typer(no_args_is_help=True)

HUB_UP = "The hub and its database come up"
SITES_UP = "Two real Slurm sites come up"
SIGNED_IN = "Everybody signs in"
REGISTERED = "The operator registers two sites"
ENROLLED = "Each site's admin enrols an agent"
DISCOVERED = "The agents tell what their clusters have"
MAPPED = "The admins confirm the GPU classes"
PLEDGED = "The sites pledge GPU-hours"
AWARDED = "Three groups get projects and awards"
SUBMITTED = "Three groups submit training jobs"
CANCELLED = "A running job is cancelled and resumed from its checkpoint"
ARRAY = "A script with #SBATCH --array runs exactly once"
ENDED = "All three jobs succeed"
INTERRUPTED = 130  # as a shell counts SIGINT: a story that was broken off has not held
SETTLED = "Every attempt's use is booked"

TRY_JOBS = (("anna", "job list"), ("clara", "balance chem-lm"), ("olga", "ledger verify"))
TRY_HUB = (("anna", "whoami"), ("olga", "site list"), ("olga", "ledger verify"))


@app.command("demo")
def demo(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Do not wait at the end; exit 0 only if every step held.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the facts, read back from the real systems.")
    ] = None,
) -> None:
    """Act it all out on this machine: real Slurm sites, hub, agents, groups, jobs, ledger."""
    console = Console(soft_wrap=True)
    try:
        _perform(console, check=check, report=report)
    except (RuntimeTrouble, CannotInstall, CannotInstallPrograms) as trouble:
        console.print(str(trouble), style="red")
        raise typer.Exit(1) from None


def _perform(console: Console, *, check: bool, report: Path | None) -> None:
    # A polite end, too, must end what was started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prepared = _prepare(console)
    programme = Programme(console)
    with runtime.alone(prepared.state):
        stage = Stage.make(prepared)
        try:
            books = _act(programme, stage)
            if report:
                _write_report(report, books, programme)
            _farewell(console, stage, programme)
            if not check:
                _wait(console)
        except KeyboardInterrupt:
            console.print("stopping …")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            stage.stop()
    raise typer.Exit(0 if programme.all_held else 1)


def _prepare(console: Console) -> Runtime:
    if (packages := machine.lacks_slurm()) and machine.may_install():
        console.print("Adding Slurm, munge and MariaDB by apt; none of their services is started …")
        added = machine.install(packages)
        console.print(f"    {len(added)} packages added, listed in {machine.INSTALLED}", style="dim", highlight=False)
    return runtime.prepare()


def _write_report(path: Path, books: Books, programme: Programme) -> None:
    """The facts of this run; where the hub itself did not come up, the steps alone."""
    facts: dict[str, Any] = {}
    programme.run(
        "The facts are read back from the real systems", lambda: facts.update(books.facts()), needs=(SIGNED_IN,)
    )
    path.write_text(json.dumps(facts | books.protocol(programme.results), ensure_ascii=False, indent=2) + "\n")


def _act(programme: Programme, stage: Stage) -> Books:
    setting = Setting(stage)
    work = Work(stage, _stage_corpus(stage))
    books = Books(stage, work)
    _run_setting(programme, stage, setting)
    _run_work(programme, work)
    programme.run("The ledger agrees with accounting, scheduler and wrapper", books.verify, needs=(SETTLED,))
    return books


def _run_setting(programme: Programme, stage: Stage, setting: Setting) -> None:
    programme.run(HUB_UP, lambda: _start_hub(stage))
    programme.run(SITES_UP, stage.start_sites)
    programme.run(SIGNED_IN, setting.everybody_signs_in, needs=(HUB_UP,))
    programme.run(REGISTERED, setting.register_sites, needs=(SIGNED_IN,))
    programme.run(ENROLLED, setting.enrol_agents, needs=(REGISTERED, SITES_UP))
    programme.run(DISCOVERED, setting.discover, needs=(ENROLLED,))
    programme.run(MAPPED, setting.confirm_mapping, needs=(DISCOVERED,))
    programme.run(PLEDGED, setting.pledge, needs=(MAPPED,))
    programme.run("A pledge above the inventory is refused", setting.pledge_too_much, needs=(MAPPED,))
    programme.run(AWARDED, setting.found_groups, needs=(PLEDGED,))


def _run_work(programme: Programme, work: Work) -> None:
    programme.run(SUBMITTED, work.submit_three, needs=(AWARDED,))
    programme.run("A log is followed live", work.follow_log, needs=(SUBMITTED,))
    programme.run("Refused: larger than what is left of the award", work.refuse_over_award, needs=(AWARDED,))
    programme.run("Refused: larger than any site", work.refuse_over_site, needs=(AWARDED,))
    programme.run("Refused: an unknown GPU class", work.refuse_unknown_class, needs=(AWARDED,))
    programme.run(CANCELLED, work.cancel_and_resume, needs=(SUBMITTED,))
    programme.run(ARRAY, work.run_array_once, needs=(SUBMITTED,))
    programme.run(ENDED, work.await_three, needs=(SUBMITTED,))
    programme.run(SETTLED, work.await_settled, needs=(ENDED,))


def _start_hub(stage: Stage) -> str:
    stage.start_database()
    stage.start_hub()
    return f"API and login: {stage.hub_url}"


def _stage_corpus(stage: Stage) -> Path:
    """The repository's own texts, where the sites' jobs can read them."""
    account = stage.runtime.account
    corpus = account.folder(stage.runtime.state / "corpus")
    for text in (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))):
        copy = corpus / text.relative_to(CHECKOUT).as_posix().replace("/", "-")
        shutil.copyfile(text, copy)
        copy.chmod(0o644)
    return corpus


def _farewell(console: Console, stage: Stage, programme: Programme) -> None:
    if stage.ports.renewed:
        console.print(f"Other programs had taken {', '.join(stage.ports.renewed)}: logins had to be renewed.")
    console.print(f"\n{programme.verdict}", highlight=False)
    cesai = Path(sys.prefix) / "bin" / "cesai"
    console.print("Try, in another terminal:", style="bold")
    for username, words in TRY_JOBS if programme.held(AWARDED) else TRY_HUB:
        people = stage.runtime.state / "people" / username
        console.print(f"  CESAI_CONFIG_DIR={people} {cesai} {words}", highlight=False)


def _wait(console: Console) -> None:
    console.print("\nEverything goes on running; Ctrl-C ends it. `make demo-clean` removes it.", style="dim")
    with suppress(KeyboardInterrupt):  # the way in which it is meant to end
        signal.pause()
