"""Logs that end their process, print, or lie."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench_cli.interfaces import Buffer, LogOptions, RecordKind, WriteAheadLog
from tests.foreign.backends import SlowLog, SlowLogBackend


class Killed(SlowLogBackend):
    """Its first append is its last."""

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        os.kill(os.getpid(), signal.SIGKILL)
        return super().open(directory, options)


class OutOfMemory(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        raise MemoryError


class FullDisk(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        raise OSError(28, os.strerror(28))


class Exits(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        print("going away", flush=True)
        os._exit(3)


class Leaves(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        raise SystemExit("no more")


class Remembers(SlowLogBackend):
    """Tells how often it was opened before, as far as its process knows."""

    opened = 0

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        Remembers.opened += 1
        raise RuntimeError(f"opened before: {Remembers.opened - 1}")


class TellsItsParent(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        raise RuntimeError(f"parent {os.getppid()}")


class KillsItsParent(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
        return super().open(directory, options)


class Spawns(SlowLogBackend):
    """Starts a process that opens the pipe ``spawned`` and stays; then interrupts the tool (the
    parent of its parent) as Ctrl-C would, and stays."""

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        with Path("spawned").open("wb") as pipe:
            words = [sys.executable, "-c", "import signal; signal.pause()"]
            subprocess.Popen(words, pass_fds=[pipe.fileno()])
            tool = psutil.Process(os.getppid()).ppid()
            os.kill(tool, signal.SIGINT)
            signal.pause()
        return super().open(directory, options)


class Hangs(SlowLogBackend):
    """Opens the pipe ``hangs`` in the working directory and stays."""

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        with Path("hangs").open("wb"):
            signal.pause()
        return super().open(directory, options)


class Prints(SlowLogBackend):
    """Prints to standard output, which belongs to the worker's answer."""

    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        print("{not json")
        return super().open(directory, options)


class ForgetfulLog(SlowLog):
    """Counts an append and writes nothing every other time."""

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        if self._appends % 2:
            self._appends += 1
            return self._last
        return super().append(payload, kind)


class Forgetful(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return ForgetfulLog(directory)  # type: ignore[return-value]  # as SlowLog


class ZeroLog(SlowLog):
    """Counts every append and stores zeros."""

    def append(self, payload: Buffer, kind: int = RecordKind.DATA) -> int:
        return super().append(bytes(len(payload)), kind)


class Zeros(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return ZeroLog(directory)  # type: ignore[return-value]  # as SlowLog


class LitteringLog(SlowLog):
    """Leaves cycles for the collector, one per record."""

    def append_many(self, payloads: Sequence[Buffer], kind: int = RecordKind.DATA) -> int:
        for _ in payloads:
            cycle: list[object] = []
            cycle.append(cycle)
        return super().append_many(payloads, kind)


class Litters(SlowLogBackend):
    def open(self, directory: Path, options: LogOptions) -> WriteAheadLog:
        return LitteringLog(directory)  # type: ignore[return-value]  # as SlowLog
