"""What is in an attempt's folder, and how is it written so that no crash leaves half of it?

    <base>/<account>/attempts/<marker>/   order.sh script wrapper.sh output fence/ duplicates/ trouble
    <base>/.buried/<marker>               the tombstone of an attempt that has no folder (yet)

The fence is a folder that appears with its content in one step (a rename onto a folder that is not empty fails):
the wrapper's has an `owner`, a tombstone has `buried`. Whoever comes first has it.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from cesai.contract.connector import FolderReading, SiteUnavailable, SubmitRefused
from cesai.contract.messages import AttemptOrder, WrapperStamps
from cesai.kernel.ids import MARKER
from cesai_slurm import orders, words
from cesai_slurm.settings import Settings

_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
_FOLDER_MODE = 0o2770
_NOTE_BYTES = 1_000
NOT_PREPARED = FolderReading(
    is_prepared=False,
    is_buried=False,
    owner=None,
    owner_submit_time=None,
    owner_restart=None,
    stamps=None,
    duplicate_ids=(),
    trouble=None,
)


@contextmanager
def _answering(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"{what}: {error.filename or ''} {error.strerror}"
        raise SiteUnavailable(msg) from error


def _write(path: Path, text: str, *, mode: int) -> None:
    # 0660 and not the umask's choice: the agent and the project's account share the group.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    path.mkdir(exist_ok=True)
    path.chmod(_FOLDER_MODE)


def _place(fresh: Path, final: Path) -> bool:
    """Whether the fresh folder took the name; if not, something had it before."""
    try:
        fresh.rename(final)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno in _TAKEN:
            return False
        raise
    _sync_folder(final.parent)
    return True


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Folders:
    """The attempts' folders below one base."""

    settings: Settings

    def prepare(self, order: AttemptOrder) -> None:
        """Write the attempt's folder, unless it is there: it appears whole or not at all.

        Raises:
            SubmitRefused: the attempt is buried.
            SiteUnavailable: it cannot be written.
        """
        place = orders.places(self.settings, account=order.account, marker=order.marker)
        with _answering("the attempt's folder cannot be written"):
            if not place.attempt.is_dir():
                _make_folder(place.project)
                _make_folder(place.attempts)
                _place(self._fresh(order, place), place.attempt)
            # Looked for after the folder is there: bury() looks for the folder after its own mark, one of us sees it.
            if self._grave(order.marker).exists():
                self._bury_in(place.attempt)
            is_buried = (place.attempt / "fence" / "buried").exists()
        if is_buried:
            msg = "The attempt was revoked before it was submitted."
            raise SubmitRefused(msg)

    def _fresh(self, order: AttemptOrder, place: orders.Places) -> Path:
        fresh = place.attempts / f".new-{order.marker}-{secrets.token_hex(4)}"
        _make_folder(fresh)
        _make_folder(fresh / "duplicates")
        _write(fresh / "wrapper.sh", files("cesai_slurm").joinpath("wrapper.sh").read_text(), mode=0o660)
        _write(fresh / "order.sh", orders.order_file(order, self.settings), mode=0o660)
        _write(fresh / orders.SCRIPT, order.script, mode=0o770)
        return fresh

    def read(self, marker: str) -> FolderReading:
        """Fence, stamps and tombstone of one attempt.

        Raises:
            SiteUnavailable: the file system does not answer, or what it says cannot be read.
        """
        with _answering("the attempt's folder cannot be read"):
            folder = self._find(marker)
            if folder is None:
                return replace(NOT_PREPARED, is_buried=self._grave(marker).exists())
            return _read_folder(folder)

    def bury(self, marker: str) -> bool:
        """Set the tombstone, unless a launch holds the fence.

        Raises:
            SiteUnavailable: the file system does not answer.
        """
        with _answering("the tombstone cannot be written"):
            folder = self._find(marker)
            if folder is None:
                self._dig(marker)
                folder = self._find(marker)
            return True if folder is None else self._bury_in(folder)

    def _dig(self, marker: str) -> None:
        grave = self._grave(marker)
        _make_folder(grave.parent)
        grave.touch(mode=0o660)
        _sync_folder(grave.parent)

    @staticmethod
    def _bury_in(folder: Path) -> bool:
        fresh = folder / f"fence.{secrets.token_hex(4)}"
        _make_folder(fresh)
        _write(fresh / "buried", "", mode=0o660)
        return _place(fresh, folder / "fence") or (folder / "fence" / "buried").exists()

    def read_log(self, marker: str, *, offset: int, limit: int) -> bytes:
        """Bytes of the attempt's log.

        Raises:
            SiteUnavailable: the file system does not answer.
        """
        with _answering("the log cannot be read"):
            folder = self._find(marker)
            if folder is None:
                return b""
            return _read_plain(folder / orders.OUTPUT, offset=offset, limit=limit) or b""

    def _grave(self, marker: str) -> Path:
        return self.settings.base / ".buried" / marker

    def _find(self, marker: str) -> Path | None:
        if not MARKER.fullmatch(marker):
            return None
        with os.scandir(self.settings.base) as accounts:
            for account in accounts:
                folder = Path(account.path) / "attempts" / marker
                if not account.name.startswith(".") and folder.is_dir():
                    return folder
        return None


def _read_folder(folder: Path) -> FolderReading:
    fence = folder / "fence"
    duplicates = [path for path in sorted((folder / "duplicates").iterdir()) if not path.name.endswith(".new")]
    # What was written last is read first: whoever sees a stamp sees its owner, too.
    stamps = _stamps(fence, duplicates=len(duplicates))
    owner = _pairs(fence / "owner")
    return FolderReading(
        is_prepared=True,
        is_buried=(fence / "buried").exists(),
        owner=owner.get("job"),
        owner_submit_time=words.read_time(owner.get("submitted", "")),
        owner_restart=words.read_whole(owner["restart"]) if "restart" in owner else None,
        stamps=stamps,
        duplicate_ids=tuple(sorted({_text(path) or "" for path in duplicates} - {""})),
        trouble=_text(folder / "trouble"),
    )


def _stamps(fence: Path, *, duplicates: int) -> WrapperStamps | None:
    started, ended = _pairs(fence / "started"), _pairs(fence / "ended")
    if "at" not in started:
        return None
    return WrapperStamps(
        started_at=_instant(started["at"]),
        ended_at=_instant(ended["at"]) if "at" in ended else None,
        exit_code=words.read_whole(ended["exit_code"]) if "exit_code" in ended else None,
        duplicates=duplicates,
    )


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        words.garbled("a stamp", text)


def _read_plain(path: Path, *, offset: int, limit: int) -> bytes | None:
    """Bytes of a plain file; None when there is none.

    The folder belongs to the project's account: a link would make us tell what only the agent may read, and a pipe
    would keep us waiting.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            return None
        raise
    try:
        return os.pread(descriptor, limit, offset) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def _text(path: Path) -> str | None:
    found = _read_plain(path, offset=0, limit=_NOTE_BYTES)
    return None if found is None else found.decode(errors="replace").strip()


def _pairs(path: Path) -> Mapping[str, str]:
    lines = (_text(path) or "").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
