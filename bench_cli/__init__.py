"""Benchmarks for the parts that keep data safe and fast: write caches, write-ahead logs and
draw ledgers. Start reading at ``interfaces/``; ``docs/design.md`` says where everything lives."""

__version__ = "0.1.0"
