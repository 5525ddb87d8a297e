"""How does everything that the demonstration made go again?"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from cesai.demo import accounts, local_users, machine, processes, runtime
from cesai.demo.processes import Keeper
from cesai.demo.slurm import steps
from cesai.demo.slurm.config import socket_folder


def main() -> None:
    """Remove state, programs and accounts of this checkout's demonstration; say what stays."""
    packages = machine.INSTALLED.read_text().split() if machine.INSTALLED.exists() else []
    try:
        clean(Path.cwd())
    except runtime.RuntimeTrouble as trouble:
        sys.exit(str(trouble))
    sys.stdout.write("the demonstration is gone\n")
    if packages:
        sys.stdout.write(f"packages that were added for it stay: apt-get remove {' '.join(packages)}\n")


def clean(checkout: Path) -> None:
    """Remove everything that was made here: processes that a killed demonstration left, state, programs, accounts.

    Raises:
        RuntimeTrouble: the demonstration is running.
    """
    checkout = checkout.resolve()
    state = checkout / ".cesai"
    if state.exists():
        with runtime.alone(state):
            _end_leftovers(state)
    if os.geteuid() == 0:
        _remove_account(checkout)
        shutil.rmtree(runtime.LIBRARY / runtime.digest(checkout), ignore_errors=True)
        local_users.remove(runtime.digest(checkout))
        if runtime.LIBRARY.exists() and not any(entry.is_dir() for entry in runtime.LIBRARY.iterdir()):
            shutil.rmtree(runtime.LIBRARY)
    if state.is_symlink():
        state.unlink()
    elif state.exists():
        shutil.rmtree(state)


def _end_leftovers(state: Path) -> None:
    for note in state.resolve().rglob("*.run"):
        Keeper(note.parent).end_leftover(note.stem)
    for sockets in state.resolve().rglob(runtime.SOCKETS):
        shutil.rmtree(sockets.read_text(), ignore_errors=True)
    for conf in state.resolve().rglob("slurm.conf"):
        site = conf.parent.parent
        for pid in steps.of(site):
            processes.signal_quietly(pid, signal.SIGKILL)
        shutil.rmtree(socket_folder(site), ignore_errors=True)


def _remove_account(checkout: Path) -> None:
    name = runtime.account_name(checkout)
    if not accounts.exists(name):
        return
    for pid in processes.of_user(accounts.named(name).uid):
        processes.end_stranger(pid, 0)
    for folder in Path(tempfile.gettempdir()).glob("cesai-*"):
        if folder.lstat().st_uid == accounts.named(name).uid:
            shutil.rmtree(folder, ignore_errors=True)
    accounts.remove(name)


if __name__ == "__main__":
    main()
