"""``python -m bench_cli`` and the ``bench`` command."""

from __future__ import annotations

import sys


def main() -> None:
    from bench_cli.cli.main import run

    sys.exit(run())


if __name__ == "__main__":
    main()
