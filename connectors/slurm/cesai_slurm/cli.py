"""How is Slurm spoken to with its own commands?"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cesai.contract.connector import SiteUnavailable, SubmitRefused
from cesai_slurm import cli_words, refusals
from cesai_slurm.rows import About, HistoryRow, NodeRow, Question, QueueRow, Submission
from cesai_slurm.settings import Settings
from cesai_slurm.tables import new_separator

# What a kernel takes as one argument is 128 KiB; a marker has at most 40 characters and its comma.
_NAMES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    code: int
    stdout: str
    stderr: str

    def stdout_or_raise(self, command: str) -> str:
        """Its output, when it went well.

        Raises:
            SiteUnavailable: it did not.
        """
        if self.code != 0:
            msg = f"{command} ended with {self.code}: {self.stderr.strip()[-400:] or 'no word'}"
            raise SiteUnavailable(msg)
        return self.stdout


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs Slurm's commands: word lists, a clean environment, an end."""

    settings: Settings
    # Words before each command that make it run as another account (setpriv …, sudo -n -u …).
    prefix: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Nothing of the agent's own: SBATCH_* would beat our options, secrets would reach jobs. Times come in UTC."""
        found = {"PATH": self.settings.search_path, "HOME": str(Path.home()), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        if self.settings.slurm_conf:
            found["SLURM_CONF"] = str(self.settings.slurm_conf)
        return found

    def run(self, words: Sequence[str], *, text: str = "") -> Answer:
        """What the command says to this text.

        Raises:
            SiteUnavailable: it cannot be started or does not end in time.
        """
        try:
            done = subprocess.run(  # noqa: S603  a word list of our own
                [*self.prefix, *words],
                input=text.encode(),
                capture_output=True,
                env=self.environment(),
                timeout=self.settings.timeout_s,
                check=False,
                cwd="/",
                umask=0o007,
            )
        except subprocess.TimeoutExpired:
            msg = f"{words[0]} gave no answer in {self.settings.timeout_s:g} s"
            raise SiteUnavailable(msg) from None
        except OSError as error:
            msg = f"{words[0]} cannot be started: {error.strerror}"
            raise SiteUnavailable(msg) from None
        return Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))

    def ask(self, words: Sequence[str]) -> str:
        """What the command prints.

        Raises:
            SiteUnavailable: it ended badly.
        """
        return self.run(words).stdout_or_raise(words[0])


@dataclass(frozen=True, slots=True)
class CliBackend:
    """sbatch, squeue, sacct, sinfo, scontrol, scancel."""

    settings: Settings
    commands: Commands

    @property
    def name(self) -> str:
        """What the site's page shows."""
        return "cli"

    def about(self) -> About:
        """Version and cluster, as the controller tells them."""
        table = self.configuration()
        return About(version=table.get("SLURM_VERSION", "unknown"), cluster=table.get("ClusterName"), dialect=None)

    def submit(self, submission: Submission) -> str:
        """Submit, held."""
        answer = self.commands.run(cli_words.sbatch(submission), text=submission.wrapper)
        if answer.code != 0:
            sentence = refusals.sentence(answer.stderr)
            if sentence:
                raise SubmitRefused(sentence)
        return cli_words.read_sbatch(answer.stdout_or_raise("sbatch"))

    def release(self, external_ids: Sequence[str]) -> None:
        """Let held jobs go."""
        answer = self.commands.run(cli_words.release(external_ids))
        if answer.code != 0 and not cli_words.is_released_anyway(answer.stderr):
            answer.stdout_or_raise("scontrol release")

    def cancel(self, external_ids: Sequence[str]) -> None:
        """Ask for their end."""
        self.commands.ask(cli_words.scancel(external_ids))

    def queue(self) -> tuple[QueueRow, ...]:
        """All jobs in slurmctld's memory."""
        separator = new_separator()
        return cli_words.read_squeue(self.commands.ask(cli_words.squeue(separator)), separator)

    def history(self, question: Question) -> tuple[HistoryRow, ...]:
        """Rows of accounting."""
        rows: list[HistoryRow] = []
        for start in range(0, max(1, len(question.names)), _NAMES_AT_ONCE):
            separator = new_separator()
            part = Question(
                since=question.since,
                until=question.until,
                names=question.names[start : start + _NAMES_AT_ONCE],
                accounts=question.accounts,
            )
            rows.extend(
                cli_words.read_sacct(
                    self.commands.ask(cli_words.sacct(part, self.settings.cluster, separator)), separator
                )
            )
        return tuple(rows)

    def nodes(self) -> tuple[NodeRow, ...]:
        """Each node once per partition."""
        separator = new_separator()
        return cli_words.read_sinfo(self.commands.ask(cli_words.sinfo(separator)), separator)

    def configuration(self) -> Mapping[str, str]:
        """Slurmctld's settings."""
        return cli_words.read_configuration(self.commands.ask(["scontrol", "show", "config"]))
