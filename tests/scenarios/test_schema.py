"""The published schema accepts what the loader accepts, and refuses what an editor can see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bench_cli.catalogue import Catalogue
from bench_cli.schema import json_schema

from .conftest import make_catalogue, shipped_catalogue

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


def validator(catalogue: Catalogue) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema(catalogue))


@pytest.fixture(scope="module")
def real() -> jsonschema.Draft202012Validator:
    return validator(shipped_catalogue())


@pytest.fixture(scope="module")
def small() -> jsonschema.Draft202012Validator:
    return validator(make_catalogue())


def test_the_schema_is_one_itself(real: jsonschema.Draft202012Validator) -> None:
    jsonschema.Draft202012Validator.check_schema(real.schema)


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_every_shipped_file_fits_the_schema(
    path: Path, real: jsonschema.Draft202012Validator
) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    real.validate(document)


def scenario(**keys: Any) -> dict[str, Any]:
    return {"scenarios": [{"name": "s", "workload": "wal.append"} | keys]}


@pytest.mark.parametrize(
    "document",
    [
        scenario(params={"backend": "wal.mmap", "record": "32KiB", "every": "5 ms", "batch": 3}),
        scenario(params={"record": 512, "every": 0, "core": "native", "backend": "a.b:C"}),
        scenario(matrix={"record": ["4K", 512], "include": [{"record": "1M", "state": "cold"}]}),
        scenario(plan={"processes": 3, "min_sample": "50ms"}),
        scenario(plan={"latency": True, "rate": "1000/s"}),
        scenario(plan={"latency": "false", "rate": "5 k/s"}),
        scenario(matrix={"rate": ["1 k/s", "2 k/s"], "include": [{"rate": "5/s"}]}),
        scenario(plan={"limit": "5 %"}),
        scenario(plan={"limit": 0.05}),
        scenario(requirements=[{"metric": "ns_per_op", "at_most": "2x of limits.call",
                                "where": {"record": ["4K", "8K"], "backend": "wal.mmap"}}]),
        {"scenarios": [{"name": "s", "extends": "other.yaml#t", "params": {"any": 1}}]},
        {"defaults": {"params": {"wal": "none"}}, "scenarios": [{"name": "s"}]},
        {"scenarios": [{"name": "d", "workload": "rewards.draw", "params": {"wal": "none"}}]},
    ],
)  # fmt: skip
def test_a_valid_document_fits(
    document: dict[str, Any], small: jsonschema.Draft202012Validator
) -> None:
    small.validate(document)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"scenarios": []},
        {"scenarios": [{"workload": "wal.append"}]},
        {"scenario": [], "scenarios": [{"name": "s"}]},
        scenario(name="a b"),
        scenario(workload="wal.apend"),
        scenario(params={"recrod": 1}),
        scenario(params={"record": "4kib"}),
        scenario(params={"record": 0}),
        scenario(params={"record": [1, 2]}),
        scenario(params={"every": 5}),
        scenario(params={"batch": "3K"}),
        scenario(params={"state": True}),
        scenario(params={"backend": "rewards.pool"}),
        scenario(params={"core": "nativ"}),
        scenario(matrix={"record": "4K"}),
        scenario(matrix={"record": []}),
        scenario(matrix={"exclude": [{"recrod": 1}]}),
        scenario(plan={"processes": 0}),
        scenario(plan={"proceses": 1}),
        scenario(plan={"latency": "yes"}),
        scenario(plan={"rate": 1000}),
        scenario(plan={"limit": "5MB"}),
        scenario(plan={"limit": 11}),
        scenario(plan={"rate": "5MB/s"}),
        scenario(matrix={"rate": [1000]}),
        scenario(params={"rate": "1000/s"}),
        scenario(requirements=[{"metric": "ns", "at_most": "5ns"}]),
        scenario(requirements=[{"metric": "ns_per_op"}]),
        scenario(requirements=[{"metric": "ns_per_op", "at_most": "5ns", "at_least": "1ns"}]),
        scenario(requirements=[{"metric": "ns_per_op", "at_most": "5ns", "where": {"x": 1}}]),
        scenario(workload="limits.call", params={"backend": "wal.mmap"}),
    ],
)  # fmt: skip
def test_a_wrong_document_does_not_fit(
    document: dict[str, Any], small: jsonschema.Draft202012Validator
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        small.validate(document)
