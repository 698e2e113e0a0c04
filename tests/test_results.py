"""Result files: written whole or not at all, read strictly, every mistake named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench_cli import results
from bench_cli.errors import OutputError, ResultFileError
from bench_cli.results import RequirementOutcome, Row, RunResult, Samples


def a_row(identifier: str = "wal.append[backend=wal.mmap,record=32KiB]", **changes: object) -> Row:
    row = Row(
        id=identifier,
        scenario="wal-append",
        workload="wal.append",
        group="WAL append",
        backend="wal.mmap",
        core="native",
        params={"record": 32768},
        status="ok",
        durability={"level": "D1", "integrity": "I1", "damage": "C2", "evidence": "declared"},
        samples=Samples(time_ns=[[10.5, 11.5], [12.5, 9.5]], ops=1000, payload=32768),
        metrics={"ns_per_op": 10.5},
        per_process={"ns_per_op": [10.5, 11.0]},
        limits={"limits.memcpy[size=32KiB]": [8.0, 8.5]},
        warnings=["a warning"],
    )
    for name, value in changes.items():
        setattr(row, name, value)
    return row


def a_result(*rows: Row) -> RunResult:
    return RunResult(
        environment={"cpu": "a processor", "cores": 2},
        scenario_files=[{"path": "scenarios/wal.yaml", "sha256": "00"}],
        results=list(rows) or [a_row()],
        requirements=[
            RequirementOutcome("wal-append", "row", "bytes_per_s", "at_least", "3 GB/s", "met",
                               value=3.3e9, bound=3e9, margin=0.1)
        ],
        created="2026-01-02T03:04:05Z",
        settings={"seed": 1},
    )  # fmt: skip


def stored(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_result_reads_back_equal_to_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results.write(path, a_result())
    assert results.read(path) == a_result()
    assert os.listdir(tmp_path) == ["r.json"]


def test_the_file_is_plain_json_with_one_line_per_row(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results.write(path, a_result(a_row("a[]"), a_row("b[]")))
    document = json.loads(path.read_text())
    assert document["schema"] == 1
    assert document["results"][0]["samples"]["time_ns"] == [[10.5, 11.5], [12.5, 9.5]]
    assert sum(line.startswith('{"id"') for line in path.read_text().splitlines()) == 2


def test_an_empty_result_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results.write(path, RunResult({}, [], []))
    assert results.read(path) == RunResult({}, [], [])


def test_text_without_a_utf8_form_survives(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results.write(path, a_result(a_row(reason="file \udcff \x1b[31m")))
    assert results.read(path).results[0].reason == "file \udcff \x1b[31m"


def test_fields_that_are_missing_take_their_default(tmp_path: Path) -> None:
    path = stored(tmp_path, '{"schema": 1, "environment": {}, "scenario_files": [], "results": []}')
    assert results.read(path).requirements == []


VALID = results.to_json(a_result())


def changed(old: str, new: str) -> str:
    assert old in VALID
    return VALID.replace(old, new, 1)


BAD = {
    "empty": ("", "truncated"),
    "truncated": (VALID[: len(VALID) // 2], "truncated"),
    "not json": ("hello", "1:1"),
    "foreign json": ('{"benchmarks": []}', "not a result of this tool"),
    "a list": ("[]", "not a result of this tool"),
    "newer schema": (changed('"schema": 1', '"schema": 2'), "newer version (schema 2"),
    "schema zero": (changed('"schema": 1', '"schema": 0'), "`schema` is 0"),
    "schema true": (changed('"schema": 1', '"schema": true'), "`schema` is True"),
    "nan": (changed("9.5", "NaN"), "NaN is not a JSON number"),
    "infinity": (changed("9.5", "-Infinity"), "-Infinity is not a JSON number"),
    "overflow": (changed("9.5", "1e999"), "results[0].samples.time_ns[1][1]"),
    "overflow in free fields": (changed('"cores": 2', '"cores": 1e999'), "environment.cores"),
    "huge integer": (changed("9.5", "1" + "0" * 400), "too large"),
    "endless digits": (changed("9.5", "1" * 5000), "not JSON"),
    "duplicate key": (changed('"cpu"', '"cores": 1, "cpu"'), "'cores' is there twice"),
    "text for a number": (changed("9.5", '"fast"'), '"fast" is not a number'),
    "true for a number": (changed("9.5", "true"), "true is not a number"),
    "null for a list": (changed('"warnings": ["a warning"]', '"warnings": null'), "warnings"),
    "unknown field": (changed('"warnings"', '"wornings"'), "results[0].wornings"),
    "missing field": (changed('"workload": "wal.append", ', ""), "results[0].workload: missing"),
    "unknown status": (changed('"status": "ok"', '"status": "fine"'), "results[0].status"),
    "unknown outcome": (changed('"status": "met"', '"status": "fine"'), "requirements[0].status"),
    "not utf-8": (b'{"schema": "\xff"}', "byte 12: not UTF-8"),
    "deep": ('{"schema":' + "[" * 100_000, "nested deeper"),
    "deep behind a string": ('{"a": "[[\\"[[", "b": ' + "[" * 51, "nested deeper"),
    "row twice": (results.to_json(a_result(a_row("a"), a_row("a"))), "'a' is there twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_error_with_place_and_remedy(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    path = stored(tmp_path, text)
    with pytest.raises(ResultFileError) as caught:
        results.read(path)
    assert str(path) in caught.value.message
    assert expected in caught.value.message
    assert caught.value.remedy
    assert len(caught.value.message) < 400


def test_brackets_inside_strings_do_not_count_as_nesting(tmp_path: Path) -> None:
    text = changed('"a processor"', '"' + "[" * 500 + '\\"{{' + '"')
    assert results.read(stored(tmp_path, text)).results


def test_an_unclosed_string_of_many_quotes_is_read_in_linear_time(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError):
        results.read(stored(tmp_path, '"' + '\\"' * 300_000))


def test_a_missing_file_a_folder_a_fifo_and_a_device_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "none.json", tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ResultFileError):
            results.read(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    path.touch()
    os.truncate(path, results.MAX_BYTES + 1)  # sparse
    with pytest.raises(ResultFileError, match="at most"):
        results.read(path)


def test_a_result_that_holds_nan_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = stored(tmp_path, "old")
    with pytest.raises(OutputError, match="cannot be stored as JSON"):
        results.write(path, a_result(a_row(metrics={"ns_per_op": float("nan")})))
    assert path.read_text() == "old"


def test_a_failed_write_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        results.write(path, a_result())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_the_file_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        steps.append(f"sync {kind}")
        real_sync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    results.write(tmp_path / "r.json", a_result())
    assert steps == ["sync file", "rename", "sync folder"]


def test_an_unwritable_place_is_found_before_anything_runs(tmp_path: Path) -> None:
    results.check_writable(tmp_path / "new.json")
    assert os.listdir(tmp_path) == []
    for path in (tmp_path / "no" / "folder.json", tmp_path, Path("/dev/null/x"), Path("a\0b")):
        with pytest.raises(OutputError):
            results.check_writable(path)


def test_checking_keeps_an_existing_result(tmp_path: Path) -> None:
    path = stored(tmp_path, VALID)
    results.check_writable(path)
    assert path.read_text() == VALID
    results.check_writable(stored(tmp_path, ""))


def test_a_file_that_is_no_result_is_never_replaced(tmp_path: Path) -> None:
    path = stored(tmp_path, "# My notes\n")
    with pytest.raises(OutputError, match="not a result"):
        results.check_writable(path)
    assert path.read_text() == "# My notes\n"


def test_latest_is_the_newest_result_of_the_folder(tmp_path: Path) -> None:
    for age, name in enumerate(["b.json", "a.json", "c.json"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(0, 10**18 - age))
    (tmp_path / "journal.jsonl").touch()
    assert results.resolve("latest", tmp_path) == tmp_path / "b.json"
    assert results.resolve("other.json", tmp_path) == Path("other.json")


def test_latest_without_any_result_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ResultFileError) as caught:
        results.resolve("latest", tmp_path)
    assert "bench run" in (caught.value.remedy or "")


def test_the_default_name_is_a_timestamp_and_a_safe_name(tmp_path: Path) -> None:
    path = results.default_path(tmp_path / "results", "2026-01-02T03:04:05Z", "../my run")
    assert path == tmp_path / "results" / "20260102T030405Z--my-run.json"


def test_ten_thousand_rows_are_read_with_bounded_work(tmp_path: Path) -> None:
    rows = [a_row(f"wal.append[record={n}]") for n in range(10_000)]
    path = tmp_path / "big.json"
    results.write(path, a_result(*rows))
    assert len(results.read(path).results) == 10_000
