"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# the same examples every time, on any machine: a test must not fail by luck
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
