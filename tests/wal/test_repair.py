"""``bench wal check`` and ``bench wal repair``: what is said, what is changed, what is kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench_cli.cli.main import run
from bench_cli.interfaces import LogBackend
from tests.contract.log_backends import FORMATS, STORED, fill, label, load, read, small


@pytest.fixture(params=STORED, ids=label)
def backend(request: pytest.FixtureRequest) -> LogBackend:
    return load(request.param)


@pytest.fixture(params=FORMATS)
def format(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def written(backend: LogBackend, home: Path, format: str, cut: int = 0) -> list[bytes]:
    log = backend.open(home, small(format))
    payloads = fill(log, 900)
    if cut:
        log.truncate_front(cut)  # type: ignore[attr-defined]  # ours can
    log.close()
    return payloads


def hurt(home: Path) -> Path:
    """A bit in the middle of the second segment."""
    path = sorted(home.iterdir())[1]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 8
    path.write_bytes(whole)
    return path


def contents(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir()}


def test_a_sound_log_is_called_so_and_left_alone(
    backend: LogBackend, format: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(backend, home, format)
    before = contents(home)
    assert run(["wal", "check", str(home)]) == 0
    told = capsys.readouterr().out
    assert f"{format} format" in told and "900 records, 1 to 900" in told and "tail clean" in told
    assert run(["wal", "repair", str(home)]) == 20
    assert "not damaged" in capsys.readouterr().err
    assert contents(home) == before
    assert list(home.parent.iterdir()) == [home]


def test_damage_is_named_with_its_place(
    backend: LogBackend, format: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(backend, home, format)
    path, before = hurt(home), contents(home)
    assert run(["wal", "check", "--json", str(home)]) == 20
    told = json.loads(capsys.readouterr().out)
    found, _ = read(backend, home, small(format))
    assert told["tail"] == "corrupt" and told["format"] == format
    assert told["damages"][0]["path"] == str(path)
    assert told["damages"][0]["offset"] == found.damages[0].offset
    assert run(["wal", "check", str(home)]) == 20
    assert f"damage: {path} at {found.damages[0].offset}" in capsys.readouterr().out
    assert contents(home) == before


@pytest.mark.parametrize("cut", [0, 1])
def test_a_repair_keeps_the_original_and_leaves_what_is_valid(
    backend: LogBackend, format: str, home: Path, cut: int
) -> None:
    written(backend, home, format, 400 if cut else 0)
    hurt(home)
    before = contents(home)
    found, valid = read(backend, home, small(format))
    assert 0 < len(valid) < 900
    assert run(["wal", "repair", str(home)]) == 0
    assert contents(home.with_name("log.damaged-1")) == before
    after, records = read(backend, home, small(format))
    assert (records, after.tail, after.damages) == (valid, "clean", ())
    assert after.first_sequence == found.first_sequence
    log = backend.open(home, small(format))
    assert log.append(b"goes on") == found.last_sequence + 1
    log.close()


def test_a_log_in_use_is_refused(backend: LogBackend, format: str, home: Path) -> None:
    log = backend.open(home, small(format))
    fill(log, 3)
    assert run(["wal", "check", str(home)]) == 20
    assert run(["wal", "repair", str(home)]) == 20
    assert log.append(b"and it works on") == 4
    log.close()


def test_what_is_no_log_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir()
    for path in (home, home / "missing", home / "file"):
        (home / "file").write_text("no folder")
        assert run(["wal", "check", str(path)]) == 2
        assert run(["wal", "repair", str(path)]) == 2
    assert "holds no segment" in capsys.readouterr().err


def test_hostile_files_end_soon_and_are_told_of(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    with (home / "00000001.wal").open("wb") as sparse:
        sparse.write(b"BENCHWAL" + bytes(600) + b"x")
        sparse.truncate(1 << 40)
    os.mkfifo(home / "00000002.wal")
    (home / "00000003.wal").symlink_to("/etc/passwd")
    (home / "00000004.wal").mkdir()
    assert run(["wal", "check", str(home)]) == 20
    assert capsys.readouterr().out.count("damage: ") == 4
    assert run(["wal", "repair", str(home)]) == 0
    assert len(list(home.with_name("log.damaged-1").iterdir())) == 4
    assert run(["wal", "check", str(home)]) == 0
