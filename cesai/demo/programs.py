"""How do the programs get to where an account that cannot enter our home can run them?

A second environment, made by the system's Python: the locked packages of `.venv` (linked, so they cost no space) and
our own distributions as wheels, as a site would install them. Each state of the sources has a folder of its own and
one line of a .pth file says which is in use: what runs already is not changed under its feet.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SYSTEM_PYTHON = Path("/usr/bin/python3")
POINTER = "cesai_in_use.pth"
KEPT = 3  # states of the sources: what runs may still use an older one
SOURCES = ("pyproject.toml", "README.md", "cesai", "migrations", "dashboards", "connectors")
OWN = ("cesai", "_editable_impl_cesai", "__editable__")


class CannotInstallPrograms(Exception):
    """The second environment cannot be made; the sentence says why."""


def install(checkout: Path, venv: Path) -> None:
    """Make the environment, or bring it to the checkout's present sources; nothing to do costs milliseconds."""
    lock = _digest(checkout, ["requirements.lock"])
    stamp = venv / "lock.sha256"
    if not stamp.exists() or stamp.read_text() != lock:
        shutil.rmtree(venv, ignore_errors=True)
        _make(checkout, venv)
        stamp.write_text(lock)
    wanted = venv / "versions" / _digest(checkout, SOURCES)
    if not wanted.exists():
        _install_own(checkout, venv, wanted)
    _use(venv, wanted)


def _make(checkout: Path, venv: Path) -> None:
    _run([SYSTEM_PYTHON, "-m", "venv", venv], folder=Path("/"))
    here = Path(sys.prefix)
    if Path(sys.base_prefix) == Path("/usr") and here != Path(sys.base_prefix):
        _link_packages(_packages(here), _packages(venv))
    else:
        line = [venv / "bin" / "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.lock"]
        _run(line, folder=checkout)


def _link_packages(source: Path, target: Path) -> None:
    for entry in source.iterdir():
        if entry.name.startswith(OWN) or (target / entry.name).exists():
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, copy_function=_link_or_copy)
        else:
            _link_or_copy(str(entry), str(target / entry.name))
    _open_to_all(target)


def _link_or_copy(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target


def _install_own(checkout: Path, venv: Path, wanted: Path) -> None:
    wheels = venv / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    for folder in (checkout, *sorted(path.parent for path in checkout.glob("connectors/*/pyproject.toml"))):
        _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels], folder=folder)
    fresh = wanted.with_name(f"{wanted.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    line = [venv / "bin" / "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", fresh]
    _run([*line, *sorted(wheels.glob("*.whl"))], folder=venv)
    _open_to_all(fresh)
    fresh.rename(wanted)


def _use(venv: Path, wanted: Path) -> None:
    pointer = _packages(venv) / POINTER
    if not pointer.exists() or pointer.read_text().strip() != str(wanted):
        fresh = pointer.with_suffix(".new")
        fresh.write_text(f"{wanted}\n")
        fresh.chmod(0o644)
        fresh.rename(pointer)
    for script in (wanted / "bin").iterdir():
        link = venv / "bin" / f"{script.name}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(script)
        link.rename(venv / "bin" / script.name)
    os.utime(wanted)
    for old in sorted(wanted.parent.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _packages(venv: Path) -> Path:
    """Where an environment made by the system's Python keeps its packages."""
    return next(venv.glob("lib/python3*/site-packages"))


def _open_to_all(folder: Path) -> None:
    """What umask 077 closed would be closed to the account."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        wanted = mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444)
        if wanted != mode and not path.is_symlink():
            path.chmod(wanted & 0o7777)


def _digest(checkout: Path, names: Sequence[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        top = checkout / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(checkout)}\0".encode())
                total.update(path.read_bytes())
    return total.hexdigest()[:16]


def _run(line: Sequence[object], *, folder: Path) -> None:
    done = subprocess.run(  # noqa: S603  our own arguments
        [str(word) for word in line],
        cwd=folder,
        umask=0o022,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        msg = f"{' '.join(str(word) for word in line)} ended with {done.returncode}: {done.stdout.strip()[-800:]}"
        raise CannotInstallPrograms(msg)
