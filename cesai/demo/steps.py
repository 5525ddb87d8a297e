"""What happens in which order, and did it hold?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape


class StepFailed(Exception):
    """A step did not hold; the sentence says what was expected and what was seen."""


class StepSkipped(Exception):
    """A step cannot be done here; the sentence says why."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went: ok is None when it was skipped."""

    name: str
    ok: bool | None
    seconds: float
    skipped: str | None = None


@dataclass(slots=True)
class Programme:
    """Runs the steps one after the other, tells of each in plain words, and goes on where it can.

    A step that needs an earlier one names it; when that one was skipped or failed, so is this one, with the reason.
    """

    console: Console
    results: list[StepResult] = field(default_factory=list)

    def run(self, name: str, work: Callable[[], object], *, needs: tuple[str, ...] = ()) -> bool:
        """Do one step; True when it held."""
        began = time.monotonic()
        try:
            self._check(needs)
            with self._shown(name):
                said = work()
        except StepSkipped as reason:
            self._note(StepResult(name, None, time.monotonic() - began, str(reason)))
        except StepFailed as reason:
            self._note(StepResult(name, ok=False, seconds=time.monotonic() - began), str(reason))
        else:
            self._note(
                StepResult(name, ok=True, seconds=time.monotonic() - began), said if isinstance(said, str) else ""
            )
        return self.results[-1].ok is True

    @property
    def all_held(self) -> bool:
        """No step failed."""
        return all(result.ok is not False for result in self.results)

    def held(self, name: str) -> bool:
        """This step was done and held."""
        return any(result.name == name and result.ok for result in self.results)

    @property
    def verdict(self) -> str:
        """How it all went, in one sentence."""
        failed = [result.name for result in self.results if result.ok is False]
        skipped = sum(result.ok is None for result in self.results)
        if failed:
            return f"{len(failed)} of {len(self.results)} steps did not hold: {'; '.join(failed)}."
        return f"Every step that can be done here held; {skipped} were skipped." if skipped else "Every step held."

    def _check(self, needs: tuple[str, ...]) -> None:
        done = {result.name: result for result in self.results}
        for need in needs:
            result = done.get(need)
            if result is None or result.ok is not True:
                reason = (result.skipped if result else None) or f"it needs “{need}”, which did not hold"
                raise StepSkipped(reason)

    @contextmanager
    def _shown(self, name: str) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(escape(name)):
            yield

    def _note(self, result: StepResult, said: str = "") -> None:
        # What many steps lack is told once.
        is_told = result.skipped is not None and any(result.skipped == earlier.skipped for earlier in self.results)
        self.results.append(result)
        mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]-[/]"}[result.ok]
        took = f"[dim]{result.seconds:.1f} s[/]" if result.ok is not None else ""
        self.console.print(f"{mark} {escape(result.name)} {took}", highlight=False)
        for line in [] if is_told else (result.skipped or said).splitlines():
            self.console.print(
                f"    {escape(line)}",
                style="yellow" if result.ok is None else "red" if result.ok is False else "dim",
                highlight=False,
            )
