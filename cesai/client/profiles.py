"""Who is signed in where? One file of mode 0600 per profile, in a folder of mode 0700."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cesai.client.exits import BadInput
from cesai.client.texts import Texts

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Tokens(BaseModel):
    """What the login server gave."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    access_token: str
    refresh_token: str | None = None
    expires_at: float  # seconds since 1970 by this machine's clock


class Profile(BaseModel):
    """One person at one hub."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    hub: str
    issuer: str
    username: str | None = None
    tokens: Tokens | None = None


def config_folder(environment: Mapping[str, str]) -> Path:
    """Where profiles are kept."""
    if named := environment.get("CESAI_CONFIG_DIR"):
        return Path(named)
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "cesai"


class Profiles:
    """The profiles of one folder."""

    def __init__(self, folder: Path, texts: Texts) -> None:
        self._folder = folder
        self._texts = texts

    def current(self) -> str:
        """The name of the profile in use."""
        try:
            return (self._folder / "current").read_text(encoding="utf-8").strip() or DEFAULT
        except OSError:
            return DEFAULT

    def use(self, name: str) -> None:
        """Take this profile from now on.

        Raises:
            BadInput: there is none of this name.
        """
        if self.find(name) is None:
            raise BadInput(self._texts("no_profile", profile=name, known=", ".join(self.names()) or "–"))
        self._write(self._folder / "current", name + "\n")

    def names(self) -> tuple[str, ...]:
        """The names of all profiles."""
        return tuple(sorted(path.stem for path in self._folder.glob("profiles/*.json")))

    def find(self, name: str) -> Profile | None:
        """The profile of this name, if there is one.

        Raises:
            BadInput: the name is none, or its file is broken.
        """
        path = self._path(name)
        try:
            return Profile.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError):
            raise BadInput(self._texts("profile_broken", path=path)) from None

    def save(self, profile: Profile) -> None:
        """Keep a profile: whole, or as it was before."""
        self._write(self._path(profile.name), profile.model_dump_json(indent=1) + "\n")

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Nobody else changes this profile meanwhile, in no process of this machine."""
        path = self._path(name).with_suffix(".lock")
        self._make_folder(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BadInput(self._texts("profile_name"))
        return self._folder / "profiles" / f"{name}.json"

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _write(self, path: Path, text: str) -> None:
        self._make_folder(path.parent)
        # mkstemp makes the file 0600; the rename puts it in place whole, also when the machine stops in between.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
