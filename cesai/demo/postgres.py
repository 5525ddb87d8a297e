"""How does the demonstration get its PostgreSQL?"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from cesai.demo.processes import Command, Keeper
from cesai.demo.runtime import SOCKETS, Runtime

NAME = "postgresql"
PATH = "/usr/local/bin:/usr/bin:/bin"


def start(keeper: Keeper, runtime: Runtime, folder: Path) -> str:
    """Start the embedded server of this folder and wait until it takes connections; its URL."""
    runtime.account.folder(folder, mode=0o700)
    line = [runtime.python, "-m", "cesai.db.embedded", folder]
    temporary = {"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}
    env = {"PATH": PATH, "LANG": "C.UTF-8", **temporary}
    note = folder / "postmaster.pid"
    keeper.end_leftover(NAME)
    note.unlink(missing_ok=True)
    keeper.start(NAME, Command(line, env, runtime.account, folder, lambda: _is_ready(note)))
    address: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603  our own arguments
        [*(str(word) for word in line), "--url"],
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        **runtime.account.switch(),
    )
    url = address.stdout.strip()
    sockets = url.partition("host=")[2]
    runtime.account.file(folder / SOCKETS, sockets)
    return url


def stop(keeper: Keeper, folder: Path) -> None:
    """Stop the server of this folder for good: its socket folder goes too. Repeat-safe."""
    keeper.stop(NAME)
    note = folder / SOCKETS
    if note.exists():
        shutil.rmtree(note.read_text(), ignore_errors=True)


def _is_ready(note: Path) -> bool:
    """The last line of postmaster.pid tells the server's state. Source: PostgreSQL, src/include/utils/pidfile.h."""
    try:
        return note.read_text().rstrip().endswith("ready")
    except FileNotFoundError:
        return False
