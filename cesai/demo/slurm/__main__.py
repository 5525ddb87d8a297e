"""How does a developer run one real Slurm site by hand?"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from cesai.demo import runtime
from cesai.demo.ports import Ports
from cesai.demo.slurm import SiteSpec, SlurmSite, missing


def main() -> None:
    """Run a site in the foreground until SIGINT or SIGTERM."""
    wish = _arguments()
    if absent := missing(with_rest=wish.rest):
        sys.exit(f"not installed: {', '.join(absent)}")
    wish.folder.mkdir(parents=True, exist_ok=True)
    spec = SiteSpec(wish.name, wish.gpu, wish.nodes, wish.gpus, has_rest=wish.rest, projects=tuple(wish.project))
    site = SlurmSite(spec, wish.folder, runtime.account(), Ports(wish.folder / "ports.json"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with it ignored
    try:
        site.start()
        _say(_usage(site))
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        site.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cesai.demo.slurm", description=main.__doc__)
    parser.add_argument("--name", default="juelich")
    parser.add_argument("--gpu", default="h100", help="gres type")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=4, help="per node")
    parser.add_argument("--rest", action="store_true", help="with slurmrestd")
    parser.add_argument("--project", action="append", default=[], help="a Slurm account; may be given several times")
    parser.add_argument("--folder", type=Path, required=True, help="is made, and goes on where it was")
    return parser.parse_args()


def _usage(site: SlurmSite) -> str:
    prefix = " ".join(site.account.prefix())
    lines = [
        f"{site.spec.name} is up (Slurm as {site.account.name}; Ctrl-C ends it). Run its commands like",
        f"  SLURM_CONF={site.layout.slurm_conf} {prefix} sinfo",
        f"  (jobs may work in {site.work}; accounts: {', '.join(site.spec.projects) or 'none'})",
    ]
    if site.rest_url:
        lines += [
            f"slurmrestd: {site.rest_url} with X-SLURM-USER-NAME: {site.account.name} and X-SLURM-USER-TOKEN from",
            f"  SLURM_CONF={site.layout.slurm_conf} {prefix} scontrol token lifespan=3600",
        ]
    pids = " ".join(f"{name}={site.pid(name)}" for name in site.keeper.names())
    return "\n".join([*lines, f"pids: {pids}"])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
