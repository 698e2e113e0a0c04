"""Percentiles of single operations as metrics of a row.

In an open loop they are those of the response, in a closed one those of the service: in both the
time that whoever waits for the operation has to bear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PERCENTILE_OF = {
    "p50_ns": "p50",
    "p90_ns": "p90",
    "p99_ns": "p99",
    "p999_ns": "p99.9",
    "max_ns": "max",
}
"""Where a metric's value stands in what a row tells, by metric."""


def borne(latency: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a row's latencies the part that its metrics are about; empty where there is none."""
    found = latency.get("response") or latency.get("service")
    return found if isinstance(found, Mapping) else {}


def metrics(latency: Mapping[str, Any]) -> dict[str, float]:
    """By metric; a percentile of too few operations is not there."""
    told = borne(latency)
    return {
        metric: float(told[name])
        for metric, name in PERCENTILE_OF.items()
        if told.get(name) is not None
    }


def per_process(each: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """By metric one value per process, from what each process told alone; only those for which
    every process did operations enough."""
    values = [metrics(one) for one in each]
    return {
        metric: [one[metric] for one in values]
        for metric in PERCENTILE_OF
        if values and all(metric in one for one in values)
    }


def why_absent(latency: Mapping[str, Any], metric: str) -> str:
    """Why a row lacks such a metric, as a sentence without its end."""
    if "reason" in latency:
        return str(latency["reason"])
    reasons = borne(latency).get("reasons")
    if isinstance(reasons, Mapping) and PERCENTILE_OF[metric] in reasons:
        return str(reasons[PERCENTILE_OF[metric]])
    return "single operations were not timed (`bench run` does, with `plan: {latency: true}`)"
