"""Where a run reads and writes: ``scenarios/``, ``_tmp/`` and ``results/`` of the project.

The project is the working directory if it has ``scenarios/``; else the checkout this package
stands in, if it is one; else the working directory.
"""

from __future__ import annotations

from pathlib import Path


def project_root() -> Path:
    here = Path.cwd()
    checkout = Path(__file__).resolve().parent.parent
    for candidate in (here, checkout):
        if (candidate / "scenarios").is_dir():
            return candidate
    return here


def scenarios_dir() -> Path:
    return project_root() / "scenarios"


def scratch_dir() -> Path:
    """Logs, snapshots and everything else a run needs only while it runs."""
    return project_root() / "_tmp"


def results_dir() -> Path:
    return project_root() / "results"
