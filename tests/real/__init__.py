"""Whole sessions in real processes, too long for the tests: run by hand, or by make."""
