"""How does the real `cesai-agent` run at a fake site? `python -m tests.agent.agent_at_fake_site SITE.json run …`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from cesai.agent import cli
from tests.agent.fake_site import DiskSite


def main() -> int:
    """As `cesai-agent`, with the site's file before its arguments."""
    path = Path(sys.argv[1])

    def load(_name: str, _settings: Mapping[str, object]) -> DiskSite:
        return DiskSite(path)

    cli.load = load  # type: ignore[assignment]  # the fake site is no installed distribution
    return cli.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
