"""Which processes did we start, are they well, and are they gone when we go?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cesai.demo.accounts import Account

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
TAIL_LINES = 15
STATE_FIELD, PARENT_FIELD, STARTED_FIELD = 0, 1, 19  # proc(5), /proc/PID/stat, counted after the command's name


class NotReady(Exception):
    """A process did not come up; the sentence holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, as whom, and how to know that it is up."""

    line: Sequence[object]
    env: Mapping[str, str]
    account: Account
    folder: Path
    is_ready: Callable[[], bool] = lambda: True
    groups: tuple[int, ...] = ()
    patience: float = READY_SECONDS


@dataclass(slots=True)
class Keeper:
    """Starts named processes, each in a session of its own with its log in a file, and ends them in reverse order.

    Beside each log it notes pid and start time, so that the next Keeper ends what a killed one left behind: a pid
    alone may be somebody else's by then.
    """

    logs: Path
    _commands: dict[str, Command] = field(default_factory=dict)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, command: Command) -> int:
        """Start it and wait until it is ready; its pid.

        Raises:
            NotReady: it ended, or was not ready in time.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self.end_leftover(name)
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603  our own command lines
                [str(word) for word in command.line],
                env=dict(command.env),
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **command.account.switch(groups=command.groups),
            )
        with self._lock:
            self._commands[name] = command
            self._running[name] = process
        self._note(name).write_text(f"{process.pid} {started_at(process.pid)}\n")
        self._await(name, process, command)
        return process.pid

    def restart(self, name: str) -> int:
        """Stop it, if it runs, and start it as before; its new pid."""
        command = self._commands[name]
        self.stop(name)
        return self.start(name, command)

    def stop(self, name: str, *, patience: float = STOP_SECONDS) -> None:
        """Ask it to end, and end its whole process group when it does not in time. Repeat-safe."""
        process = self._running.get(name)
        if process is None:
            return
        end(process, patience)
        with self._lock:
            self._running.pop(name, None)
        self._note(name).unlink(missing_ok=True)

    def stop_all(self, *, patience: float = STOP_SECONDS) -> None:
        """Stop everything, the last one started first."""
        for name in reversed(list(self._running)):
            self.stop(name, patience=patience)

    def kill(self, name: str) -> None:
        """End it as a crash does (SIGKILL), alone: what it started stays."""
        process = self._running[name]
        process.kill()
        process.wait()

    def freeze(self, name: str) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid(name), signal.SIGCONT)

    def pid(self, name: str) -> int:
        """Its process id."""
        return self._running[name].pid

    def names(self) -> tuple[str, ...]:
        """What was started and not stopped, in that order."""
        return tuple(self._running)

    def is_running(self, name: str) -> bool:
        """Whether it is there and did not end by itself."""
        process = self._running.get(name)
        return process is not None and process.poll() is None

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of each, with its children, in MB."""
        return {name: round(tree_rss_mb(process.pid), 1) for name, process in list(self._running.items())}

    def log(self, name: str) -> Path:
        """Where it writes."""
        return self.logs / f"{name}.log"

    def end_leftover(self, name: str) -> None:
        """End what an earlier, killed Keeper left running under this name."""
        note = self._note(name)
        if name in self._running or not note.exists():
            return
        pid, started = (int(word) for word in note.read_text().split())
        if started_at(pid) == started:
            end_stranger(pid, STOP_SECONDS)
        note.unlink(missing_ok=True)

    def _note(self, name: str) -> Path:
        return self.logs / f"{name}.run"

    def _await(self, name: str, process: subprocess.Popen[bytes], command: Command) -> None:
        deadline = time.monotonic() + command.patience
        while not command.is_ready():
            code = process.poll()
            if code is None and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            why = f"ended with {code}" if code is not None else f"was not ready after {command.patience:.0f} s"
            self.stop(name)
            msg = f"{name} {why}; the end of {self.log(name)}:\n{tail(self.log(name))}"
            raise NotReady(msg)


def end(process: subprocess.Popen[bytes], patience: float) -> None:
    """End a child: SIGTERM first, then SIGKILL to its process group."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    kill_group(process.pid)
    process.wait()


def end_stranger(pid: int, patience: float) -> None:
    """The same for a process that is not our child."""
    signal_quietly(pid, signal.SIGCONT)
    signal_quietly(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    kill_group(pid)


def kill_group(pid: int) -> None:
    """End what is left of the process group that this process led."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def signal_quietly(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def is_alive(pid: int) -> bool:
    """Whether it is there and no zombie: orphans may be reaped late."""
    return (fields := stat(pid)) is not None and fields[STATE_FIELD] not in {"Z", "X"}


def started_at(pid: int) -> int | None:
    """When the process started, in the kernel's ticks: with its pid this names it for good."""
    return int(fields[STARTED_FIELD]) if is_alive(pid) and (fields := stat(pid)) else None


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, or None."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def descendants(pid: int) -> list[int]:
    """Everything that this process started and what those started, as far as it is still its child."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            children.setdefault(int(fields[PARENT_FIELD]), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        fresh = children.get(todo.pop(), [])
        found += fresh
        todo += fresh
    return found


def of_user(uid: int) -> list[int]:
    """Every process of an account."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and entry.stat().st_uid == uid and is_alive(int(entry.name)):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def tree_rss_mb(pid: int) -> float:
    """Resident memory of a process and its descendants."""
    pages = 0
    for one in (pid, *descendants(pid)):
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def tail(path: Path) -> str:
    """The last lines of a log."""
    if not path.exists():
        return "(empty)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-TAIL_LINES:]) or "(empty)"
