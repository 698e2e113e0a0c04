"""Every mistake in a scenario file is reported with file, line and the closest valid name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench_cli.catalogue import Catalogue
from bench_cli.errors import ScenarioError
from bench_cli.scenario import load

Problems = Callable[..., list[str]]

APPEND = "scenarios:\n  - name: s\n    workload: wal.append\n"
"""Three lines; what a test adds starts in line 4."""
ROWS = APPEND + "    params: {backend: wal.mmap}\n"
REQUIREMENT = ROWS + "    requirements:\n      - "

CASES = [
    # --- the file and its top level
    ("empty file", "", "a.yaml:1: the file is empty; it needs `scenarios:`"),
    ("only a comment", "# nothing\n", "a.yaml:1: the file is empty; it needs `scenarios:`"),
    ("a list at the top", "- a\n", "a.yaml:1: a scenario file must be a mapping, not a list"),
    ("a word at the top", "hello\n", "a.yaml:1: a scenario file must be a mapping, not 'hello'"),
    (
        "unknown top-level key",
        "scenario: []\n",
        [
            "a.yaml:1: a scenario file has no key 'scenario'; did you mean scenarios?",
            "a.yaml:1: the key `scenarios` is missing",
        ],
    ),
    ("no scenario", "scenarios: []\n", "a.yaml:1: scenarios: the list is empty"),
    ("scenarios as a mapping", "scenarios: {a: b}\n",
     "a.yaml:1: scenarios must be a list, not a mapping"),
    ("two documents", "scenarios: []\n---\na: 1\n",
     "a.yaml:2: a second YAML document; one file holds one"),
    # --- scenario keys
    ("no name", "scenarios:\n  - workload: limits.call\n", "a.yaml:2: a scenario without `name`"),
    ("no workload", "scenarios:\n  - name: s\n", "a.yaml:2: scenario 's' names no `workload`"),
    ("unknown workload", "scenarios:\n  - {name: s, workload: wal.apend}\n",
     "a.yaml:2: no workload 'wal.apend'; did you mean wal.append?"),
    ("unknown key", ROWS + "    plam: {}\n",
     "a.yaml:5: a scenario has no key 'plam'; did you mean plan or params or name?"),
    ("include beside matrix", ROWS + "    include: []\n",
     "a.yaml:5: a scenario has no key 'include'; it belongs inside `matrix`"),
    ("backend beside params", ROWS + "    backend: wal.mmap\n",
     "a.yaml:5: a scenario has no key 'backend'; it belongs inside `params` or `matrix`"),
    ("a key twice", ROWS + "    name: t\n", "a.yaml:5: 'name' is given twice (first in line 2)"),
    ("a merge key", ROWS + "    <<: {a: b}\n",
     "a.yaml:5: merge keys are not allowed; use `extends`"),
    ("a list as key", ROWS + "    ? [a]\n    : b\n",
     "a.yaml:5: a key must be a word, not a list"),
    ("a boolean as name", "scenarios:\n  - {name: on, workload: limits.call}\n",
     "a.yaml:2: name: 'on' reads as a boolean in YAML; quote it or rename"),
    ("an odd name", "scenarios:\n  - {name: a/b, workload: limits.call}\n",
     "a.yaml:2: name: 'a/b' must be letters, digits, dots, dashes, underscores (<= 80)"),
    ("a name given twice",
     "scenarios:\n  - {name: s, workload: limits.call}\n  - {name: s, workload: limits.copy}\n",
     "a.yaml:3: a scenario named 's' exists already at a.yaml:2"),
    ("a control character in a name",
     'scenarios:\n  - {name: "a\\x1b[0m", workload: limits.call}\n',
     ["a.yaml:2: 'a\\x1b[0m' holds a control character",
      "a.yaml:2: name: 'a\\x1b[0m' must be letters, digits, dots, dashes, underscores (<= 80)"]),
    # --- tags and the like
    ("a tag that constructs", ROWS + "    description: !!python/object/apply:os.system [ls]\n",
     ["a.yaml:5: the tag '!!python/object/apply:os.system' is not allowed; write the plain value",
      "a.yaml:5: description must be text, not a list"]),
    ("a harmless tag", ROWS + "    description: !!str x\n",
     "a.yaml:5: the tag '!!str' is not allowed; write the plain value"),
    ("an alias without anchor", ROWS + "    description: *x\n",
     "a.yaml:5: the alias *x has no anchor before it"),
    ("a value that holds itself", ROWS + "    requirements: &x [*x]\n",
     "a.yaml:5: the alias *x has no anchor before it"),
    # --- values
    ("unknown parameter", APPEND + "    params: {backend: wal.mmap, recrod: 1K}\n",
     "a.yaml:4: wal.append has no parameter 'recrod'; did you mean record?"),
    ("unknown backend", APPEND + "    params: {backend: wal.nmap}\n",
     "a.yaml:4: backend: no backend 'wal.nmap'; did you mean wal.mmap or wal.none or wal.basic?"),
    ("a short backend name", APPEND + "    params: {backend: mmap}\n",
     "a.yaml:4: backend: no backend 'mmap'; write the full name wal.mmap"),
    ("a backend of another engine", APPEND + "    params: {backend: rewards.pool}\n",
     "a.yaml:4: backend: rewards.pool is not a backend of wal: "
     "wal.basic, wal.mmap, wal.none, wal.sqlite"),
    ("no backend", APPEND,
     "a.yaml:2: scenario 's' names no `backend`: wal.basic, wal.mmap, wal.none, wal.sqlite"),
    ("a limit with a backend",
     "scenarios:\n  - {name: s, workload: limits.call, params: {backend: wal.mmap}}\n",
     "a.yaml:2: limits.call is a limit and has no backend"),
    ("a limit without parameters",
     "scenarios:\n  - {name: s, workload: limits.call, params: {size: 1}}\n",
     "a.yaml:2: limits.call has no parameter 'size'; it takes none"),
    ("unknown core", APPEND + "    params: {backend: wal.mmap, core: nativ}\n",
     "a.yaml:4: core: 'nativ' is not a choice; did you mean native?"),
    ("a bad unit", ROWS[:-2] + ", record: 4kib}\n",
     "a.yaml:4: record: 'kib' is not a unit of size; did you mean KiB?"),
    ("a bad unit of time", ROWS[:-2] + ", every: 5 sec}\n",
     "a.yaml:4: every: 'sec' is not a unit of time; did you mean s?"),
    ("a time without unit", ROWS[:-2] + ", every: 5}\n",
     "a.yaml:4: every: '5' needs a unit of time: ns, us, ms, s, m, h, µs, μs, min"),
    ("zero", ROWS[:-2] + ", record: 0}\n",
     "a.yaml:4: record: '0' is below the smallest value 1B"),
    ("too large", ROWS[:-2] + ", record: 1TB}\n",
     "a.yaml:4: record: '1TB' is above the largest value 32MiB"),
    ("absurdly large", ROWS[:-2] + ", record: 1e18 GB}\n",
     "a.yaml:4: record: '1e18 GB' is absurdly large (more than 2^63 - 1)"),
    ("negative", ROWS[:-2] + ", batch: -1}\n", "a.yaml:4: batch: '-1' is negative"),
    ("not a number", ROWS[:-2] + ", batch: .nan}\n",
     "a.yaml:4: batch: '.nan' is not a finite number"),
    ("infinite", ROWS[:-2] + ", record: .inf}\n",
     "a.yaml:4: record: '.inf' is not a finite number"),
    ("a fraction", ROWS[:-2] + ", batch: 1.5}\n",
     "a.yaml:4: batch: '1.5' is not a whole number"),
    ("a boolean for a word", ROWS[:-2] + ", state: off}\n",
     "a.yaml:4: state: 'off' reads as a boolean in YAML; write one of steady, cold"),
    ("a boolean for a number", ROWS[:-2] + ", batch: yes}\n",
     "a.yaml:4: batch: 'yes' reads as a boolean in YAML; write a whole number"),
    ("an unknown word", ROWS[:-2] + ", state: stedy}\n",
     "a.yaml:4: state: 'stedy' is not a choice; did you mean steady?"),
    ("nothing", ROWS[:-2] + ", state: }\n", "a.yaml:4: state: the value is missing"),
    ("a list for a value", ROWS[:-2] + ", batch: [1, 2]}\n",
     "a.yaml:4: batch: a list where one value goes"),
    ("code without leave", APPEND + "    params: {backend: 'my.module:Class'}\n",
     "a.yaml:4: backend: 'my.module:Class' runs code from a module; "
     "add --allow-code if you trust it"),
    ("code that cannot be a name", APPEND + "    params: {backend: 'os:system(1)'}\n",
     "a.yaml:4: backend: 'os:system(1)' is not module:Class"),
    # --- the matrix
    ("an axis that is no list", APPEND + "    matrix: {backend: wal.mmap}\n",
     ["a.yaml:2: scenario 's' names no `backend`: wal.basic, wal.mmap, wal.none, wal.sqlite",
      "a.yaml:4: matrix: backend must be a list, not 'wal.mmap'; write [value]"]),
    ("an empty axis", ROWS + "    matrix: {record: []}\n",
     "a.yaml:5: record: the list is empty"),
    ("a value twice", ROWS + "    matrix: {record: [4K, 4096]}\n",
     "a.yaml:5: record: 4KiB stands in the list twice"),
    ("an axis that is a parameter too", ROWS + "    matrix: {backend: [wal.none]}\n",
     "a.yaml:5: backend stands in both params and matrix"),
    ("an exclude without effect",
     ROWS + "    matrix:\n      record: [4K, 8K]\n      exclude: [{record: 16K}]\n",
     "a.yaml:7: exclude: no cell of the matrix matches this entry"),
    ("an exclude of what is no axis",
     ROWS + "    matrix:\n      record: [4K, 8K]\n      exclude: [{record: 4K, state: cold}]\n",
     ["a.yaml:7: exclude: state is not an axis of the matrix"]),
    ("everything excluded", ROWS + "    matrix: {record: [4K], exclude: [{record: 4K}]}\n",
     "a.yaml:2: scenario 's' has no cell left"),
    ("an include that says nothing", ROWS + "    matrix: {include: [{}]}\n",
     "a.yaml:5: include: the entry says nothing"),
    ("an include that exists", ROWS + "    matrix: {record: [4K], include: [{record: 4K}]}\n",
     "a.yaml:2: the cell wal.append[backend=wal.mmap,core=native,record=4KiB] "
     "exists already in this scenario"),
    ("a cell in two scenarios",
     ROWS + "  - {name: t, workload: wal.append, params: {backend: wal.mmap}}\n",
     "a.yaml:5: the cell wal.append[backend=wal.mmap,core=native] "
     "exists already in 's' (a.yaml:2)"),
    # --- the plan
    ("an unknown plan key", ROWS + "    plan: {proceses: 3}\n",
     "a.yaml:5: plan has no key 'proceses'; did you mean processes?"),
    ("no process", ROWS + "    plan: {processes: 0}\n",
     "a.yaml:5: processes: '0' is below the smallest value 1"),
    ("a plan that is a list", ROWS + "    plan: [1]\n",
     "a.yaml:5: plan must be a mapping, not a list"),
    ("a rate without a unit", ROWS + "    plan: {rate: 1000}\n",
     "a.yaml:5: rate: '1000' needs a unit of frequency: /s, ops/s, draws/s, k/s, M/s"),
    ("a rate of bytes", ROWS + "    plan: {rate: 5MB/s}\n",
     "a.yaml:5: rate: 'MB/s' is not a unit of frequency; did you mean M/s?"),
    ("half an operation per second", ROWS + "    plan: {rate: 0.5/s}\n",
     "a.yaml:5: rate: '0.5/s' is not a whole number per second"),
    ("an absurd rate", ROWS + "    plan: {rate: 200M/s}\n",
     "a.yaml:5: rate: '200M/s' is above the largest value 100000000/s"),
    ("a rate that is a boolean", ROWS + "    plan: {rate: true}\n",
     "a.yaml:5: rate: 'true' reads as a boolean in YAML; write a rate such as 1000/s"),
    ("a latency that is neither true nor false", ROWS + "    plan: {latency: maybe}\n",
     "a.yaml:5: latency: 'maybe' is not a choice; known: false, true"),
    ("a rate outside the plan", ROWS + "    rate: 1000/s\n",
     "a.yaml:5: a scenario has no key 'rate'; it belongs inside `plan`"),
    ("an absurd sample", ROWS + "    plan: {min_sample: 1h}\n",
     "a.yaml:5: min_sample: '1h' is above the largest value 1m"),
    # --- extends
    ("an unknown parent", ROWS + "    extends: t\n",
     "a.yaml:5: extends: a.yaml has no scenario 't'; known: s"),
    ("itself", ROWS + "    extends: s\n", "a.yaml:5: extends: 's' extends itself in a circle"),
    ("outside the folder", ROWS + "    extends: ../b.yaml#t\n",
     "a.yaml:5: extends: '../b.yaml' lies outside the file's folder"),
    ("an absolute path", ROWS + "    extends: /etc/passwd#t\n",
     "a.yaml:5: extends: '/etc/passwd' lies outside the file's folder"),
    # --- requirements
    ("a requirement without metric", REQUIREMENT + "{at_least: 3 GB/s}\n",
     "a.yaml:6: a requirement without `metric`"),
    ("no relation", REQUIREMENT + "{metric: ns_per_op}\n",
     "a.yaml:6: a requirement has either `at_least` or `at_most`"),
    ("an unknown metric", REQUIREMENT + "{metric: ns_per_ops, at_most: 5ns}\n",
     "a.yaml:6: no metric 'ns_per_ops'; did you mean ns_per_op or run_ns_per_op or ops_per_s?"),
    ("a rate in two places", ROWS + "    plan: {rate: 1 k/s}\n    matrix: {rate: [2 k/s]}\n",
     "a.yaml:6: rate: it stands in `plan` and in `matrix`"),
    ("a rate among the parameters", ROWS.replace("wal.mmap", "wal.mmap, rate: 1/s"),
     "a.yaml:4: wal.append has no parameter 'rate'; it belongs inside `plan`"),
    ("a percentile that nothing tells", REQUIREMENT + "{metric: p99_ns, at_most: 1ms}\n",
     "a.yaml:6: requirement: p99_ns is told where the plan has `latency: true` or a rate"),
    ("a relation in the wrong unit",
     REQUIREMENT + "{metric: bytes_per_s, at_least: 3 gb/s}\n",
     "a.yaml:6: at_least: column 1: 'gb/s' is not a unit of rate; did you mean GB/s?"),
    ("a requirement on no cell",
     REQUIREMENT + "{metric: ns_per_op, at_most: 5ns, where: {record: 4K}}\n",
     "a.yaml:6: requirement: `where` matches no cell of the scenario"),
    ("where with an unknown key",
     REQUIREMENT + "{metric: ns_per_op, at_most: 5ns, where: {rec: 4K}}\n",
     "a.yaml:6: where of wal.append has no parameter 'rec'; did you mean record or rate or core?"),
    ("a broken expression",
     REQUIREMENT + "{metric: ns_per_op, at_most: 2x of sum(limits.call}\n",
     "a.yaml:6: at_most: column 22: the end where ')' is expected"),
    ("an unknown limit",
     REQUIREMENT + "{metric: ns_per_op, at_most: 2x of limits.cal}\n",
     "a.yaml:6: at_most: no workload 'limits.cal'; did you mean limits.call or limits.copy?"),
    ("a limit with an unknown parameter",
     REQUIREMENT + '{metric: ns_per_op, at_most: "2x of limits.copy[siz=1K]"}\n',
     "a.yaml:6: at_most: limits.copy has no parameter 'siz'; did you mean size?"),
    ("a row that is not in the plan",
     REQUIREMENT + '{metric: ns_per_op, at_most: "2x of wal.append[batch=9]"}\n',
     "a.yaml:6: at_most: no row wal.append[batch=9] in the plan; "
     "did you mean wal.append[backend=wal.mmap,core=native]?"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_mistake_is_named_with_its_line(
    text: str, expected: str | list[str], problems_of: Problems
) -> None:
    assert problems_of(text) == ([expected] if isinstance(expected, str) else expected)


def test_all_mistakes_are_reported_at_once_in_the_order_of_lines(problems_of: Problems) -> None:
    text = (
        "defaults: {plan: {samples: none}}\n"
        "scenarios:\n"
        "  - {name: a, workload: wal.append, params: {backend: wal.map, record: 4 bits}}\n"
        "  - {name: b, workload: limits.cal}\n"
        "  - {name: c, workload: limits.copy, matrix: {size: [1K, 0]}}\n"
    )
    assert problems_of(text) == [
        "a.yaml:1: samples: 'none' is not a number with a unit",
        "a.yaml:3: backend: no backend 'wal.map'; did you mean wal.mmap or wal.basic or wal.none?",
        "a.yaml:3: record: 'bits' is not a unit of size; known units: B, KiB, MiB, GiB, TiB, "
        "K, M, G, T, KB, kB, MB, GB, TB",
        "a.yaml:4: no workload 'limits.cal'; did you mean limits.call or limits.copy?",
        "a.yaml:5: size: '0' is below the smallest value 1B",
    ]


def test_broken_yaml_is_named_with_its_line(problems_of: Problems) -> None:
    [problem] = problems_of("scenarios:\n  - name: 'x\n")
    assert problem.startswith("a.yaml:3: not valid YAML: ")


def test_a_flood_of_mistakes_is_cut(problems_of: Problems) -> None:
    rows = "".join(f"  - {{name: n{n}, workload: w}}\n" for n in range(300))
    problems = problems_of("scenarios:\n" + rows)
    assert len(problems) == 101
    assert problems[-1] == "... and 200 more mistakes"


def test_a_name_in_two_files_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, workload in {"a.yaml": "limits.call", "b.yaml": "limits.copy"}.items():
        Path(name).write_text(f"scenarios:\n  - {{name: s, workload: {workload}}}\n")
    with pytest.raises(ScenarioError) as caught:
        load([Path("a.yaml"), Path("b.yaml")], catalogue)
    assert caught.value.problems == ["b.yaml:2: a scenario named 's' exists already at a.yaml:2"]


def test_a_mistake_in_an_extended_file_names_that_file(problems_of: Problems) -> None:
    other = "scenarios:\n  - name: p\n    workload: wal.append\n    params: {record: 4 kib}\n"
    text = "scenarios:\n  - {name: s, extends: 'b.yaml#p', params: {backend: wal.mmap}}\n"
    assert problems_of(text, others={"b.yaml": other}) == [
        "b.yaml:4: record: 'kib' is not a unit of size; did you mean KiB?"
    ]
