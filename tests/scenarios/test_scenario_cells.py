"""What a valid file becomes: cells with stable ids, overrides, selection, limits and needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench_cli.catalogue import Catalogue
from bench_cli.cells import Cell, PlanSettings, parse_reference, rate_of, without_rate
from bench_cli.errors import CoreUnavailable, ScenarioError, UsageError
from bench_cli.requirements import named_by, selects
from bench_cli.scenario import (
    Scenario,
    check_needs,
    limit_cells,
    load,
    matches,
    quick,
    scenario_files,
)

Load = Callable[..., list[Scenario]]

MATRIX = """
scenarios:
  - name: s
    workload: wal.append
    matrix:
      backend: [wal.mmap, wal.basic]
      record: [4K, 512]
"""


def ids(scenarios: list[Scenario]) -> list[str]:
    return [cell.id for scenario in scenarios for cell in scenario.cells]


def short(scenarios: list[Scenario]) -> list[str]:
    """Ids without what every row of these tests has."""
    return [
        name.replace("wal.append[backend=", "").replace(",core=native", "").rstrip("]")
        for name in ids(scenarios)
    ]


def test_a_matrix_becomes_cells_in_the_order_of_the_file(load_text: Load) -> None:
    assert ids(load_text(MATRIX)) == [
        "wal.append[backend=wal.mmap,core=native,record=4KiB]",
        "wal.append[backend=wal.mmap,core=native,record=512B]",
        "wal.append[backend=wal.basic,core=native,record=4KiB]",
        "wal.append[backend=wal.basic,core=native,record=512B]",
    ]


def test_a_cell_holds_every_parameter_in_base_units(load_text: Load) -> None:
    text = "scenarios: [{name: s, workload: wal.append, params: {backend: wal.mmap, every: 1ms}}]"
    [cell] = load_text(text)[0].cells
    assert cell.params == {"record": 512, "state": "steady", "batch": 1, "every": 1_000_000}
    assert (cell.backend, cell.core, cell.scenario) == ("wal.mmap", "native", "s")
    assert cell.shown == ("backend", "core", "every")
    assert cell.id == "wal.append[backend=wal.mmap,core=native,every=1ms]"


def test_a_parameter_at_its_default_does_not_stand_in_the_id(load_text: Load) -> None:
    text = "scenarios: [{name: s, workload: wal.append, params: {backend: wal.mmap, record: 512}}]"
    assert ids(load_text(text)) == ["wal.append[backend=wal.mmap,core=native]"]


def test_limits_have_no_backend_and_no_core(load_text: Load) -> None:
    [cell] = load_text("scenarios: [{name: s, workload: limits.call}]")[0].cells
    assert (cell.id, cell.backend, cell.core) == ("limits.call", None, None)


def test_exclude_removes_and_include_adds_points(load_text: Load) -> None:
    text = MATRIX + (
        "      exclude: [{backend: wal.basic, record: [512, 4096]}]\n"
        "      include: [{backend: [wal.none, wal.basic], record: 1M, state: cold}]\n"
    )
    assert short(load_text(text)) == [
        "wal.mmap,record=4KiB",
        "wal.mmap,record=512B",
        "wal.none,record=1MiB,state=cold",
        "wal.basic,record=1MiB,state=cold",
    ]


def test_include_alone_lists_every_row(load_text: Load) -> None:
    text = (
        "scenarios: [{name: s, workload: wal.append, matrix: "
        "{include: [{backend: wal.mmap, record: 1K}, {backend: wal.basic}]}}]"
    )
    assert short(load_text(text)) == ["wal.mmap,record=1KiB", "wal.basic"]


def test_extends_inherits_and_the_nearer_wins(load_text: Load) -> None:
    text = """
defaults: {plan: {processes: 9, samples: 9}}
scenarios:
  - name: base
    workload: wal.append
    params: {state: cold, batch: 2}
    matrix: {backend: [wal.mmap, wal.basic], record: [4K]}
    plan: {samples: 7}
  - name: child
    extends: base
    params: {batch: 3, record: 1K}
    matrix: {state: [steady, cold], backend: [wal.none]}
"""
    base, child = load_text(text)
    assert short([child]) == [
        "wal.none,batch=3,record=1KiB,state=steady",
        "wal.none,batch=3,record=1KiB,state=cold",
    ]
    assert (base.cells[0].plan.processes, base.cells[0].plan.samples) == (9, 7)
    assert (child.cells[0].plan.processes, child.cells[0].plan.samples) == (9, 7)


def test_extends_reaches_a_file_beside_this_one(load_text: Load) -> None:
    other = (
        "defaults: {plan: {samples: 4, processes: 4}}\n"
        "scenarios: [{name: p, workload: wal.append, params: {backend: wal.mmap}}]\n"
    )
    text = (
        "defaults: {plan: {samples: 5}}\n"
        "scenarios: [{name: s, extends: 'sub/b.yaml#p', params: {record: 2K}}]\n"
    )
    [scenario] = load_text(text, others={"sub/b.yaml": other})
    assert short([scenario]) == ["wal.mmap,record=2KiB"]
    assert (scenario.cells[0].plan.samples, scenario.cells[0].plan.processes) == (5, 4)


def test_the_plan_takes_units(load_text: Load) -> None:
    text = (
        "scenarios: [{name: s, workload: limits.call, "
        "plan: {processes: 2, samples: 4, min_sample: 10ms, timeout: 1m}}]"
    )
    [cell] = load_text(text)[0].cells
    assert cell.plan == PlanSettings(2, 4, 10_000_000, 60_000_000_000)


@pytest.mark.parametrize(
    ("plan", "latency", "rate"),
    [("latency: true", True, 0), ("latency: false", False, 0), ("rate: 5 k/s", False, 5_000),
     ('latency: "true", rate: 1000/s', True, 1_000), ("rate: 0", False, 0)],
)  # fmt: skip
def test_the_plan_asks_for_latencies_and_a_rate(
    load_text: Load, plan: str, latency: bool, rate: int
) -> None:
    text = f"scenarios: [{{name: s, workload: limits.call, plan: {{{plan}}}}}]"
    [cell] = load_text(text)[0].cells
    assert (cell.plan.latency, cell.plan.rate_per_s) == (latency, rate)


def test_a_scenario_knows_its_file(load_text: Load) -> None:
    scenarios = load_text(MATRIX + "    description: what it answers\n")
    assert scenarios[0].description == "what it answers"
    [file] = scenario_files(scenarios)
    assert file["path"] == "a.yaml"
    assert len(file["sha256"]) == 64


# --- twins -----------------------------------------------------------------------------------


def test_a_matrix_may_go_over_the_twins(load_text: Load) -> None:
    text = MATRIX.replace("record: [4K, 512]", "core: [native, python]")
    assert [cell.core for cell in load_text(text)[0].cells] == ["native", "python"] * 2


def test_a_backend_with_one_twin_appears_once(load_text: Load) -> None:
    text = (
        "scenarios: [{name: s, workload: wal.append, "
        "matrix: {backend: [wal.sqlite, wal.mmap], core: [native, python]}}]"
    )
    assert ids(load_text(text)) == [
        "wal.append[backend=wal.sqlite,core=python]",
        "wal.append[backend=wal.mmap,core=native]",
        "wal.append[backend=wal.mmap,core=python]",
    ]


def test_without_compiled_twins_the_python_ones_run(load_text: Load, no_native: Catalogue) -> None:
    cells = load_text(MATRIX, known=no_native)[0].cells
    assert {cell.core for cell in cells} == {"python"}
    assert all(cell.skip is None for cell in cells)


def test_an_axis_over_twins_skips_the_one_that_is_not_built(
    load_text: Load, no_native: Catalogue
) -> None:
    text = MATRIX.replace("record: [4K, 512]", "core: [native, python]")
    cells = load_text(text, known=no_native)[0].cells
    assert [cell.skip for cell in cells] == ["core native: not built", None] * 2


def test_asking_for_the_native_twin_where_it_is_not_built_is_an_error(
    load_text: Load, no_native: Catalogue
) -> None:
    with pytest.raises(CoreUnavailable) as caught:
        load_text(MATRIX, known=no_native, core="native")
    assert caught.value.remedy == "install a compiler"
    text = MATRIX + "    params: {core: native}\n"
    with pytest.raises(ScenarioError, match=r"a\.yaml:8: core native: not built"):
        load_text(text, known=no_native)


# --- overrides -------------------------------------------------------------------------------


def test_a_parameter_replaces_a_value_and_narrows_an_axis(load_text: Load) -> None:
    found = load_text(MATRIX, params=("record=512", "batch=4"))
    assert short(found) == ["wal.mmap,batch=4,record=512B", "wal.basic,batch=4,record=512B"]


def test_a_parameter_given_twice_becomes_an_axis(load_text: Load) -> None:
    text = "scenarios: [{name: s, workload: wal.append, params: {backend: wal.mmap}}]"
    assert short(load_text(text, params=("record=512", "record=1M"))) == [
        "wal.mmap,record=512B",
        "wal.mmap,record=1MiB",
    ]


def test_a_parameter_reaches_included_rows(load_text: Load) -> None:
    text = MATRIX + "      include: [{backend: wal.none, record: 1M}]\n"
    assert short(load_text(text, params=("record=8K",))) == [
        "wal.mmap,record=8KiB",
        "wal.basic,record=8KiB",
        "wal.none,record=8KiB",
    ]


def test_a_backend_runs_the_scenarios_of_its_engine_only(load_text: Load) -> None:
    text = MATRIX + (
        "  - {name: d, workload: rewards.draw, params: {backend: rewards.pool}}\n"
        "  - {name: l, workload: limits.call}\n"
    )
    assert short(load_text(text, backends=("wal.sqlite",))) == [
        "wal.sqlite,core=python,record=4KiB",
        "wal.sqlite,core=python,record=512B",
    ]


def test_rows_that_an_override_makes_equal_stand_once_where_they_came_first(
    load_text: Load,
) -> None:
    text = MATRIX + (
        "  - name: t\n    workload: wal.append\n    params: {state: cold}\n"
        "    matrix: {backend: [wal.none, wal.mmap]}\n"
    )
    found = load_text(text, params=("record=1K", "state=steady"))
    assert [(s.name, short([s])) for s in found] == [
        ("s", ["wal.mmap,record=1KiB", "wal.basic,record=1KiB"]),
        ("t", ["wal.none,record=1KiB"]),
    ]


def test_a_core_sets_every_row(load_text: Load) -> None:
    text = MATRIX.replace("record: [4K, 512]", "core: [native, python]")
    assert [cell.core for cell in load_text(text, core="python")[0].cells] == ["python"] * 2


def test_a_full_backend_name_stands_as_a_parameter(load_text: Load) -> None:
    text = (
        "scenarios: [{name: d, workload: rewards.draw, params: {backend: rewards.pool}, "
        "matrix: {wal: [none, wal.mmap]}}]"
    )
    assert ids(load_text(text)) == [
        "rewards.draw[backend=rewards.pool,core=native,wal=none]",
        "rewards.draw[backend=rewards.pool,core=native,wal=wal.mmap]",
    ]


def test_code_is_named_and_not_imported(load_text: Load) -> None:
    text = "scenarios: [{name: s, workload: wal.append, params: {backend: 'no.such.module:Class'}}]"
    assert ids(load_text(text, allow_code=True)) == [
        "wal.append[backend=no.such.module:Class,core=python]"
    ]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"params": ("recrod=1",)},
         "-P 'recrod=1': no scenario has it; did you mean record?"),
        ({"params": ("record",)}, "-P 'record': is not key=value"),
        ({"params": ("record=4kib",)},
         "-P 'record=4kib': 'kib' is not a unit of size; did you mean KiB?"),
        ({"backends": ("wal.nmap",)},
         "--backend: no backend 'wal.nmap'; did you mean wal.mmap or wal.none or wal.basic?"),
        ({"backends": ("rewards.pool",)}, "--backend: no scenario here runs that engine"),
        ({"backends": ("a:B",)},
         "--backend: 'a:B' runs code from a module; add --allow-code if you trust it"),
        ({"core": "nativ"}, "--core: 'nativ' is not a choice; did you mean native?"),
        ({"select": ("nothing",)},
         "-k: no cell matches 'nothing' (4 cells; the first is "
         "wal.append[backend=wal.mmap,core=native,record=4KiB])"),
    ],
)  # fmt: skip
def test_a_bad_override_is_a_mistake(
    overrides: dict[str, object], problem: str, load_text: Load
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(MATRIX, **overrides)
    assert caught.value.problems == [problem]


BOTH_ENGINES = f"""{MATRIX}
  - {{name: d, workload: rewards.draw, params: {{backend: rewards.pool}}}}
"""


def test_each_engine_takes_its_own_of_the_chosen_backends(load_text: Load) -> None:
    found = load_text(BOTH_ENGINES, backends=("wal.none", "rewards.pool"))
    assert ids(found) == [
        "wal.append[backend=wal.none,core=native,record=4KiB]",
        "wal.append[backend=wal.none,core=native,record=512B]",
        "rewards.draw[backend=rewards.pool,core=native]",
    ]


@pytest.mark.parametrize("name", ["wal.nmap", "rewards.poll"])
def test_an_unknown_backend_is_one_mistake_however_many_engines_there_are(
    load_text: Load, name: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(BOTH_ENGINES, backends=("wal.none", name))
    assert len(caught.value.problems) == 1


def test_a_mistake_is_told_in_the_words_that_were_typed(load_text: Load) -> None:
    typed = {"--backend": "--base 'backend:a'", "record=x": "--base 'set:record=x'"}
    with pytest.raises(ScenarioError) as caught:
        load_text(MATRIX, backends=("a",), params=("record=x", "every=x"), typed=typed)
    told = [problem.partition("': ")[0] for problem in caught.value.problems]
    assert told == ["--base 'backend:a", "--base 'set:record=x", "-P 'every=x"]


def test_quick_never_asks_for_more_than_the_file(load_text: Load) -> None:
    plan = load_text(MATRIX, quick=True)[0].cells[0].plan
    assert (plan.processes, plan.samples, plan.min_sample_ns) == (1, 3, 20_000_000)
    assert quick(PlanSettings(1, 1, 1000)) == PlanSettings(1, 1, 1000)


# --- selection -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("wal.append", True),
        ("mmap", True),
        ("record=4KiB]", True),
        ("[backend", True),
        ("mmap*4KiB", True),
        ("wal.?map", True),
        ("*", True),
        ("", True),
        ("4KiB*mmap", False),
        ("wal.[a-z]", False),
        ("basic", False),
        ("*a" * 200, False),
    ],
)
def test_a_pattern_is_literal_but_for_star_and_question_mark(pattern: str, expected: bool) -> None:
    assert matches(pattern, "wal.append[backend=wal.mmap,core=native,record=4KiB]") is expected


def test_selection_keeps_matching_cells_and_their_requirements(load_text: Load) -> None:
    text = MATRIX + (
        "    requirements:\n"
        "      - {metric: ns_per_op, at_most: 5us, where: {backend: wal.mmap}}\n"
        "      - {metric: ns_per_op, at_most: 6us, where: {backend: wal.basic}}\n"
        "  - {name: l, workload: limits.call}\n"
    )
    [scenario] = load_text(text, select=("basic*512", "nothing"))
    assert short([scenario]) == ["wal.basic,record=512B"]
    assert [r.bound.text for r in scenario.requirements] == ["6us"]


# --- limits and needs ------------------------------------------------------------------------


def test_a_cell_names_the_limits_of_its_ceiling_and_its_requirements(load_text: Load) -> None:
    text = (
        "scenarios:\n  - name: s\n    workload: wal.append\n"
        "    matrix: {backend: [wal.mmap, wal.basic]}\n"
        "    requirements:\n"
        '      - {metric: ns_per_op, where: {backend: wal.mmap}, at_most: "2x of limits.copy[size=1M]"}\n'  # noqa: E501
    )
    mmap, basic = load_text(text)[0].cells
    assert basic.limits == ("limits.copy[size=512B]", "limits.call")
    assert mmap.limits == (*basic.limits, "limits.copy[size=1MiB]")


def test_limit_cells_are_made_for_every_limit_once(load_text: Load, catalogue: Catalogue) -> None:
    cells = load_text(MATRIX)[0].cells
    found = limit_cells(cells, catalogue)
    assert list(found) == ["limits.copy[size=4KiB]", "limits.call", "limits.copy[size=512B]"]
    copy = found["limits.copy[size=512B]"]
    assert (copy.params, copy.backend, copy.core) == ({"size": 512}, None, None)
    assert all(name == cell.id for name, cell in found.items())


def test_a_row_that_needs_too_much_is_refused_before_it_runs(
    load_text: Load, catalogue: Catalogue
) -> None:
    cells = load_text(MATRIX)[0].cells
    check_needs(cells, catalogue, 40_960, 409_600)
    with pytest.raises(UsageError) as caught:
        check_needs(cells, catalogue, 40_959, 409_600)
    assert caught.value.message == (
        f"{cells[0].id} needs 40.0 KiB of memory (40960 bytes); 40.0 KiB (40959) are available"
    )
    assert caught.value.remedy is not None
    with pytest.raises(UsageError, match=r"needs 400\.0 KiB of disk .*; 100\.0 KiB "):
        check_needs(cells, catalogue, 1 << 30, 102_400)


def test_a_skipped_row_needs_nothing(catalogue: Catalogue) -> None:
    cell = Cell("wal.append", "s", "wal.append", "wal.mmap", "native", {"record": 99}, skip="no")
    check_needs([cell], catalogue, 0, 0)


def test_the_same_file_given_twice_is_read_once(load_text: Load, catalogue: Catalogue) -> None:
    load_text(MATRIX)
    assert len(load([Path("a.yaml"), Path("./a.yaml")], catalogue)) == 1


def test_a_result_does_not_name_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench_cli.scenario import _without_home

    monkeypatch.setenv("HOME", "/home/somebody")
    assert _without_home("/home/somebody/a/my.yaml") == "~/a/my.yaml"
    assert _without_home("scenarios/wal.yaml") == "scenarios/wal.yaml"
    assert _without_home("/home/somebodyelse/my.yaml") == "/home/somebodyelse/my.yaml"


# --- rates -----------------------------------------------------------------------------------

RATED = """
scenarios:
  - name: s
    workload: wal.append
    params: {backend: wal.mmap}
    plan: {latency: true%s}
    matrix: {%s}
    requirements:
      - {metric: p99_ns, at_most: 1ms, where: {%s}}
"""


def test_a_rate_of_the_plan_stands_in_the_id_and_none_does_not(load_text: Load) -> None:
    assert short(load_text(RATED % (", rate: 5 k/s", "record: [4K]", ""))) == [
        "wal.mmap,rate=5000/s,record=4KiB"
    ]
    for none in ("", ", rate: 0/s"):
        assert short(load_text(RATED % (none, "record: [4K]", ""))) == ["wal.mmap,record=4KiB"]


def test_two_scenarios_that_differ_in_their_rate_are_two_rows(load_text: Load) -> None:
    one = "{name: %s, workload: wal.append, params: {backend: wal.mmap}, plan: {rate: %s}}"
    found = load_text(f"scenarios: [{one % ('a', '1 k/s')}, {one % ('b', '2 k/s')}]")
    assert short(found) == ["wal.mmap,rate=1000/s", "wal.mmap,rate=2000/s"]


def test_a_rate_may_be_an_axis_and_is_no_parameter_of_the_workload(load_text: Load) -> None:
    [scenario] = load_text(RATED % ("", "rate: [0/s, 1 k/s]", "rate: 1 k/s"))
    assert short([scenario]) == ["wal.mmap,rate=0/s", "wal.mmap,rate=1000/s"]
    assert [cell.plan.rate_per_s for cell in scenario.cells] == [0, 1_000]
    assert all(cell.plan.latency and "rate" not in cell.params for cell in scenario.cells)
    [requirement] = scenario.requirements
    assert [selects(requirement, cell) for cell in scenario.cells] == [False, True]


def test_the_command_line_sets_a_rate(load_text: Load) -> None:
    text = RATED % (", rate: 5 k/s", "record: [4K]", "")
    found = load_text(text, params=("rate=1 k/s", "rate=2 k/s"))
    assert [cell.plan.rate_per_s for cell in found[0].cells] == [1_000, 2_000]
    assert short(found)[0] == "wal.mmap,rate=1000/s,record=4KiB"


def test_a_requirement_finds_a_row_by_its_rate(load_text: Load) -> None:
    [scenario] = load_text(RATED % ("", "rate: [1 k/s, 2 k/s]", ""))
    near = parse_reference("wal.append[rate=2k/s]")
    assert [cell.id for cell in named_by(near, scenario.cells)] == [scenario.cells[1].id]


def test_a_cell_without_its_rate_is_the_one_a_plan_without_a_rate_gives(load_text: Load) -> None:
    rated = load_text(RATED % (", rate: 5 k/s", "record: [4K]", ""))[0].cells[0]
    bare = load_text(RATED % ("", "record: [4K]", ""))[0].cells[0]
    assert without_rate(rated) == bare
    assert (rate_of(rated.id), rate_of(bare.id)) == (5_000, None)
