"""How does everything that the demonstration made go again?"""

from __future__ import annotations

import sys
from pathlib import Path

from cesai.demo import machine, runtime


def main() -> None:
    """Remove state, programs and accounts of this checkout's demonstration; say what stays."""
    packages = machine.INSTALLED.read_text().split() if machine.INSTALLED.exists() else []
    try:
        runtime.clean(Path.cwd())
    except runtime.RuntimeTrouble as trouble:
        sys.exit(str(trouble))
    sys.stdout.write("the demonstration is gone\n")
    if packages:
        sys.stdout.write(f"packages that were added for it stay: apt-get remove {' '.join(packages)}\n")


if __name__ == "__main__":
    main()
