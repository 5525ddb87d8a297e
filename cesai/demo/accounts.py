"""As whom does a process of the demonstration run?"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ALREADY_THERE = 9  # useradd(8), groupadd(8): the name is not unique; userdel(8) says 6 for one that is not there
NOT_THERE = 6


@dataclass(frozen=True, slots=True)
class Account:
    """A Unix account that processes are started as."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def is_me(self) -> bool:
        """Whether this process runs as it already."""
        return self.uid == os.geteuid()

    def switch(self, *, groups: tuple[int, ...] = ()) -> dict[str, Any]:
        """Keywords that make Popen start a child as this account; none when it is ours."""
        return {} if self.is_me else {"user": self.uid, "group": self.gid, "extra_groups": list(groups)}

    def prefix(self) -> list[str]:
        """Words before a command line that make it run as this account; none when it is ours."""
        if self.is_me:
            return []
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--"]

    def owns(self, path: Path) -> Path:
        """Give it this file or folder."""
        if os.geteuid() == 0:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path

    def folder(self, path: Path, *, mode: int = 0o755) -> Path:
        """Make a folder of this account with exactly this mode, whatever the umask."""
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        return self.owns(path)

    def file(self, path: Path, content: str | bytes, *, mode: int = 0o644) -> Path:
        """Write a file of this account; it is never readable more widely than this mode, not even at first."""
        data = content.encode() if isinstance(content, str) else content
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123  a descriptor
            file.write(data)
        path.chmod(mode)
        return self.owns(path)

    def can_enter(self, folder: Path) -> bool:
        """Whether it can work in this folder: tried as the account, since a mode tells half of it."""
        done = subprocess.run(  # noqa: S603  our own arguments
            ["/bin/sh", "-c", 'cd "$1"', "sh", folder],
            **self.switch(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0


def current() -> Account:
    """The account of this process."""
    return named(pwd.getpwuid(os.geteuid()).pw_name)


def named(name: str) -> Account:
    """The account of this name.

    Raises:
        KeyError: there is none.
    """
    entry = pwd.getpwnam(name)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def exists(name: str) -> bool:
    """Whether there is an account of this name."""
    return any(entry.pw_name == name for entry in pwd.getpwall())


def names_like(start: str) -> tuple[str, ...]:
    """Names of accounts that begin so."""
    return tuple(entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith(start))


def make(name: str, home: Path, *, groups: tuple[str, ...] = ()) -> Account:
    """Make a system account without a shell and with a group of its own, unless it is there; its home is not made."""
    line = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(home)]
    line += ["--shell", "/usr/sbin/nologin", *(["--groups", ",".join(groups)] if groups else []), name]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    if done.returncode not in {0, ALREADY_THERE}:
        msg = f"the account {name} cannot be made: {done.stderr.strip()}"
        raise OSError(msg)
    return named(name)


def remove(name: str) -> None:
    """Remove an account that we made, and its group."""
    line = ["userdel", name]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    if done.returncode not in {0, NOT_THERE}:
        msg = f"the account {name} cannot be removed: {done.stderr.strip()}"
        raise OSError(msg)
    if any(group.gr_name == name for group in grp.getgrall()):
        subprocess.run(["groupdel", name], stdin=subprocess.DEVNULL, check=True)  # noqa: S603, S607  our own arguments
