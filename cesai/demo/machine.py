"""What of Debian does this machine have, and what must be added? Standard library only: it runs before anything else.

Debian starts and enables what it installs. Both are kept from happening: a machine on which the demonstration was
tried has no service more than before. Packages stay when the demonstration goes; what was added is written down.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_ASIDE = POLICY.with_name("policy-rc.d.before-cesai")
START_NOTHING = "#!/bin/sh\nexit 101\n"  # invoke-rc.d(8): 101 = action forbidden by policy
ETC = Path("/etc")
UNITS = ETC / "systemd" / "system"
SERVICES = ("munge", "mariadb", "slurmctld", "slurmd", "slurmdbd", "slurmrestd")
INSTALLED = Path("/var/lib/cesai-demo/apt-installed")
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

VENV = ("python3-venv",)
SLURM = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "sbatch": "slurm-client",
    "slurmrestd": "slurmrestd",
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "sudo": "sudo",
}
# Plugins that are packages of their own and no programs: they come with the first of the above that is missing.
SLURM_PLUGINS = ("slurm-wlm-basic-plugins", "slurm-wlm-mysql-plugin", "slurm-wlm-jwt-plugin")


class CannotInstall(Exception):
    """The packages cannot be added here; the sentence says what to do."""


def lacks_venv() -> bool:
    """Whether this Python cannot make an environment with pip."""
    return importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None


def lacks_slurm() -> tuple[str, ...]:
    """The packages that must be added for real Slurm sites; empty when all is there."""
    absent = [package for program, package in SLURM.items() if not shutil.which(program, path=SBIN)]
    return (*absent, *SLURM_PLUGINS) if absent else ()


def may_install() -> bool:
    """Whether packages can be added here."""
    return os.geteuid() == 0 and shutil.which("apt-get", path=SBIN) is not None


def install(packages: tuple[str, ...]) -> tuple[str, ...]:
    """Add packages, with no service started or enabled; the names of all that came with them.

    Raises:
        CannotInstall: no root, no apt, or apt said no.
    """
    if not packages:
        return ()
    if not may_install():
        msg = f"missing: {' '.join(packages)}; as root: apt-get install {' '.join(packages)}"
        raise CannotInstall(msg)
    before, enabled = _present(), _enabled()
    with _nothing_starts():
        _apt("update", "-qq")
        _apt("install", "-y", "-qq", "--no-install-recommends", *packages)
    _disable(_enabled() - enabled)
    added = tuple(sorted(_present() - before))
    INSTALLED.parent.mkdir(mode=0o755, exist_ok=True)
    with INSTALLED.open("a") as file:
        file.writelines(f"{name}\n" for name in added)
    return added


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """A policy that starts no service, for this moment; a policy that was there comes back unchanged."""
    if POLICY.exists():
        POLICY.rename(POLICY_ASIDE)
    try:
        POLICY.write_text(START_NOTHING)
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        if POLICY_ASIDE.exists():
            POLICY_ASIDE.rename(POLICY)


def _apt(*words: str) -> None:
    done = subprocess.run(  # noqa: S603  our own arguments
        ["/usr/bin/apt-get", *words],
        env={**os.environ, "PATH": SBIN, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        msg = f"apt-get {' '.join(words)} ended with {done.returncode}: {done.stdout.strip()[-800:]}"
        raise CannotInstall(msg)


def _present() -> set[str]:
    line = ["/usr/bin/dpkg-query", "--show", "--showformat", "${Package}\n"]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)  # noqa: S603  our own arguments
    return set(done.stdout.split())


def _enabled() -> set[Path]:
    """Links by which systemd (of any name: mysql.service is MariaDB) or init would start our services at boot."""
    units = {f"{name}.service" for name in SERVICES}
    of_systemd = {link for link in UNITS.glob("**/*.service") if link.is_symlink() and link.readlink().name in units}
    return of_systemd | {link for name in SERVICES for link in ETC.glob(f"rc[2-5].d/S??{name}")}


def _disable(links: set[Path]) -> None:
    for link in links:
        if link.is_relative_to(UNITS):
            link.unlink(missing_ok=True)  # update-rc.d takes systemd's link away, too
        elif link.exists():
            subprocess.run(["/usr/sbin/update-rc.d", link.name[3:], "disable"], stdin=subprocess.DEVNULL, check=True)  # noqa: S603  our own arguments


def main() -> None:
    """Add what is missing: `venv` for Python's environments, `slurm` for real sites."""
    parser = argparse.ArgumentParser(prog="python3 -m cesai.demo.machine", description=main.__doc__)
    parser.add_argument("wanted", nargs="+", choices=["venv", "slurm"])
    parser.add_argument("--go-on", action="store_true", help="what cannot be added is said, and no error")
    wish = parser.parse_args()
    wanted = wish.wanted
    packages = (VENV if "venv" in wanted and lacks_venv() else ()) + (lacks_slurm() if "slurm" in wanted else ())
    try:
        added = install(packages)
    except CannotInstall as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(0 if wish.go_on else 1)
    if added:
        sys.stdout.write(f"added by apt (no service was started): {' '.join(added)}\n")


if __name__ == "__main__":
    main()
