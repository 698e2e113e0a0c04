"""What a crash may leave, on small cases that can be counted by hand."""

from __future__ import annotations

import errno
import os

import pytest

from bench_cli.faults.images import Content, DiskState
from bench_cli.faults.recorder import HOME, Recorder

A, B = b"a" * 512, b"b" * 512


def images(disk: Recorder) -> set[tuple[tuple[str, bytes], ...] | None]:
    """All that a crash after the last operation may leave."""
    state = DiskState(disk, seed=1)
    for op in disk.ops:
        state.do(op)
    found: list[Content | None] = list(state.images(1000))
    return {None if one is None else tuple(sorted(one.items())) for one in found}


def started(content: bytes = A + A) -> tuple[Recorder, int]:
    disk = Recorder({"file": content})
    return disk, disk.open(HOME / "file", os.O_RDWR)


def test_each_sector_of_an_unsynced_write_is_old_or_new_whatever_its_neighbour_is() -> None:
    disk, fd = started()
    disk.pwrite(fd, B + B, 0)
    assert images(disk) == {(("file", one + two),) for one in (A, B) for two in (A, B)}


def test_a_successful_sync_leaves_one_image() -> None:
    disk, fd = started()
    disk.pwrite(fd, B, 0)
    disk.sync(fd)
    assert images(disk) == {(("file", B + A),)}


def test_every_version_since_the_last_sync_is_possible() -> None:
    disk, fd = started(A)
    for letter in b"xyz":
        disk.pwrite(fd, bytes([letter]) * 512, 0)
    assert images(disk) == {(("file", letter * 512),) for letter in (b"a", b"x", b"y", b"z")}


def test_after_a_failed_sync_no_later_sync_helps_until_the_page_is_written_again() -> None:
    disk, fd = started(A)
    disk.pwrite(fd, B, 0)
    disk.fault = lambda call: errno.EIO if call == "sync" else 0
    with pytest.raises(OSError):
        disk.sync(fd)
    disk.fault = lambda call: 0
    disk.sync(fd)
    assert images(disk) == {(("file", A),), (("file", B),)}
    disk.pwrite(fd, b"c", 0)
    disk.sync(fd)
    assert images(disk) == {(("file", b"c" + B[1:]),)}


def test_the_sync_of_a_range_covers_its_pages_and_no_others() -> None:
    disk, fd = started(bytes(8192))
    mapping = disk.map(fd, 8192)
    for at in (0, 4096):
        mapping.buffer[at : at + 8] = b"recorded"
        mapping.stored(at, 8)
    mapping.sync(0, 8)
    found = {dict(one or ())["file"] for one in images(disk)}
    assert {one[:8] for one in found} == {b"recorded"}
    assert {one[4096:4104] for one in found} == {b"recorded", bytes(8)}


def test_a_store_may_be_caught_half_done() -> None:
    disk, fd = started(bytes(512))
    mapping = disk.map(fd, 512)
    mapping.buffer[:16] = b"firsteigandmores"
    mapping.stored(0, 16)
    found = {dict(one or ())["file"][:16] for one in images(disk)}
    assert found == {bytes(16), b"firsteig" + bytes(8), b"firsteigandmores"}


def test_a_file_has_any_length_since_its_last_sync() -> None:
    disk, fd = started(A)
    disk.truncate(fd, 100)
    disk.preallocate(fd, 1024)
    lengths = {len(dict(one or ())["file"]) for one in images(disk)}
    assert lengths == {512, 100, 1024}


def test_a_name_is_uncertain_until_its_folder_is_synced() -> None:
    disk, fd = started()
    disk.rename(HOME / "file", HOME / "other")
    disk.sync(fd)
    assert images(disk) == {(("file", A + A),), (("other", A + A),)}
    disk.sync_directory(HOME)
    assert images(disk) == {(("other", A + A),)}


def test_a_folder_that_was_just_made_may_be_gone_with_all_in_it() -> None:
    disk = Recorder()
    disk.mkdir(HOME)
    fd = disk.open(HOME / "file", os.O_RDWR | os.O_CREAT)
    disk.sync(fd)
    disk.sync_directory(HOME)
    assert images(disk) == {None, (("file", b""),)}
    disk.sync_directory(HOME.parent)
    assert images(disk) == {(("file", b""),)}


def test_a_killed_process_leaves_all_it_did() -> None:
    disk, fd = started()
    disk.pwrite(fd, B, 0)
    disk.rename(HOME / "file", HOME / "other")
    state = DiskState(disk, seed=1)
    for op in disk.ops:
        state.do(op)
    assert state.newest() == {"other": B + A} == disk.contents()


def test_an_overwritten_sector_is_never_anything_it_was_not() -> None:
    disk, fd = started(A * 20)
    for at in range(20):
        disk.pwrite(fd, B, at * 512)
    for one in images(disk):
        content = dict(one or ())["file"]
        assert {content[at : at + 512] for at in range(0, len(content), 512)} <= {A, B}
