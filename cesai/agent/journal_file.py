"""How is a commit of the journal on the disk when it returns, and what if it cannot be?

One SQLite file with a rollback journal (TRUNCATE) and synchronous=FULL. Not WAL: it needs shared memory, which a state
folder on a network file system does not have, and one agent writes alone anyway.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempt (
  attempt_id TEXT PRIMARY KEY,
  marker TEXT NOT NULL UNIQUE,
  phase TEXT NOT NULL,
  external_id TEXT,
  submit_time TEXT,
  held TEXT NOT NULL,
  report TEXT NOT NULL,
  report_sequence INTEGER NOT NULL,
  is_usage_complete INTEGER NOT NULL DEFAULT 0,
  changed_at TEXT NOT NULL,
  settled_at TEXT,
  archived_at TEXT
);
CREATE INDEX IF NOT EXISTS attempt_open ON attempt (attempt_id) WHERE settled_at IS NULL;
CREATE TABLE IF NOT EXISTS usage (
  key TEXT PRIMARY KEY,
  launch TEXT NOT NULL,
  attempt_id TEXT,
  ended_at TEXT,
  revision INTEGER NOT NULL,
  record TEXT NOT NULL,
  booked_revision INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS usage_unbooked ON usage (key) WHERE revision > booked_revision;
CREATE INDEX IF NOT EXISTS usage_ended ON usage (ended_at);
CREATE INDEX IF NOT EXISTS usage_launch ON usage (launch);
"""
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class JournalBroken(Exception):
    """Nothing can be written down; the agent must not submit. The sentence says what is wrong."""


class AlreadyRunning(Exception):
    """Another agent works on this state folder."""


class JournalFile:
    """The file and the lock that keeps a second agent away; may be used from any thread, by one at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        self.mutex = RLock()
        self._path = folder / "journal.sqlite"
        self._lock = _lock(folder / "lock")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    def close(self) -> None:
        """Let go of both; a thread that comes late finds the journal broken. Repeat-safe."""
        with self.mutex:
            if self._is_closed:
                return
            self._is_closed = True
            self._hang_up()
            os.close(self._lock)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Ask something.

        Raises:
            JournalBroken: the file cannot be read.
        """
        with self.mutex:
            try:
                yield self._open()
            except (sqlite3.Error, OSError) as error:
                self._hang_up()
                raise _broken(self._path, error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: on the disk when it ends well, nothing of it otherwise.

        Raises:
            JournalBroken: nothing of it is on the disk.
        """
        with self.mutex:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                self._hang_up()
                raise _broken(self._path, error) from error
            except BaseException:
                self._hang_up()  # which rolls back
                raise

    def _open(self) -> sqlite3.Connection:
        """The connection; made anew after each failure, since a failed file tells nothing certain about its state."""
        if self._connection is not None:
            return self._connection
        if self._is_closed:
            msg = "it was closed"
            raise sqlite3.ProgrammingError(msg)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, _FILE_MODE))
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        self._connection = connection
        return connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _broken(path: Path, error: Exception) -> JournalBroken:
    return JournalBroken(f"The journal {path} cannot be used ({error}); free some space or mend its folder.")


def _lock(path: Path) -> int:
    """Hold the folder against a second agent until this process ends.

    Raises:
        AlreadyRunning: another agent has it.
    """
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        msg = f"Another agent works on {path.parent}; stop it first, or give this one a state folder of its own."
        raise AlreadyRunning(msg) from error
    return held
