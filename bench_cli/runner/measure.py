"""One cell in this process: build its body, warm up, take samples, count in a pass of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench_cli.cells import USUAL_SAMPLE_NS
from bench_cli.interfaces import Body, BodyInfo, Engines, Setting, Workload
from bench_cli.runner.counters import Counted, Counters, count_pass, peak_rss_bytes
from bench_cli.runner.loop import (
    Calibration,
    Now,
    Sample,
    calibrate,
    empty_loop,
    repeat,
    take_sample,
)
from bench_cli.runner.steady import settle
from bench_cli.stats.quantile import quantile

SEED = 42
"""The data of every cell is made from this seed, so that exact metrics agree between runs; the
seed of a run orders its processes and nothing else."""


RUN_SHARE = 0.1
"""Other processes slow a batch down also while they run beside it (caches, memory, clock rate). All
batches of a process do the same work, so what the quickest tenth of them took is the row's own,
and repeats twice as well as the median. Not the least: it depends on how many there are."""


@dataclass(slots=True)
class Measurement:
    """What one process found out about one cell; plain values only, it travels as JSON.

    ``time_ns`` has one overhead-corrected value per sample, each over ``ops`` operations;
    ``interval_ns`` the batches of a sustained row's sample that has the slowest one.
    ``exact`` holds metrics of the counting pass, ``noisy`` those of the timed samples.
    ``steady``: the warm-up settled. ``latency``: what the latency pass told, if there was one
    (see ``latency.py``).
    """

    ops: int
    payload: int
    unit: str
    batches: int
    time_ns: list[float] = field(default_factory=list)
    interval_ns: list[int] = field(default_factory=list)
    noisy: dict[str, float] = field(default_factory=dict)
    exact: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    steady: bool = True
    latency: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; 0 ``samples``: no throughput pass. ``batches`` per sample as another process
    of the row calibrated it, or None to calibrate here. ``counting``: whether to run the counting
    pass. ``latency``: operations whose times to tell one by one (0: no such pass), ``rate_per_s``
    of them meant to start per second (0: one after the other)."""

    samples: int
    min_sample_ns: int
    batches: int | None = None
    counting: bool = True
    latency: int = 0
    rate_per_s: int = 0


def measure(
    workload: Workload,
    params: Mapping[str, Any],
    *,
    backend: str | None,
    core: str | None,
    scratch: Path,
    resolve: Callable[[str], Any],
    sampling: Sampling,
) -> Measurement:
    """Raises what the engines and the verification raise; the caller makes a reason of it."""

    share = min(1.0, sampling.min_sample_ns / USUAL_SAMPLE_NS)

    def build(folder: str) -> Body:
        place = scratch / folder
        place.mkdir(parents=True)
        setting = Setting(params, backend, core, SEED, place, Engines(resolve), share)
        return workload.build(setting)

    if sampling.samples:
        result = _timed(build("timed"), sampling)
        shutil.rmtree(scratch / "timed")
    else:
        result = Measurement(0, 0, "ops", 0)
    if sampling.counting:
        _counted(build("counted"), result)
        shutil.rmtree(scratch / "counted")
    if sampling.latency:
        result.latency = _told(build("latency"), sampling)
        shutil.rmtree(scratch / "latency")
    return result


def _told(body: Body, sampling: Sampling) -> dict[str, Any]:
    """The latency pass: a fresh body, its operations timed one by one."""
    from bench_cli.runner.latency import Pass, tell  # numpy: only rows that need it pay for it

    try:
        return tell(body, Pass(sampling.latency, sampling.rate_per_s, sampling.min_sample_ns))
    finally:
        body.close()


def _timed(body: Body, sampling: Sampling) -> Measurement:
    try:
        now = body.info.now or time.perf_counter_ns
        settled = _warm_up(body, sampling, now)
        unsteady = settle(body, settled, sampling.min_sample_ns, now)
        batches, overhead = settled.batches, settled.overhead_ns
        samples = [take_sample(body, batches, overhead, now) for _ in range(sampling.samples)]
    finally:
        body.close()
    info = body.info
    result = Measurement(info.ops * batches, info.payload, info.unit, batches)
    result.time_ns = [sample.time_ns for sample in samples]
    if info.batches:
        result.interval_ns = _slowest(samples).batch_ns
    result.noisy = _noisy_metrics(samples, result.ops, info.ops, info.payload, bool(info.batches))
    result.noisy["run_ns_per_op"] = _run_ns_per_op(samples, info, overhead)
    share = result.noisy["overhead_share"]
    if share > 0.9:
        result.warnings.append(
            f"the loop is {share:.0%} of the measured time; the rest is too small to trust"
        )
    result.steady = unsteady is None
    if settled.short:
        result.warnings.append(
            f"samples are shorter than {sampling.min_sample_ns / 1e6:g} ms: "
            "preparation takes far longer than what is timed"
        )
    return result


def _warm_up(body: Body, sampling: Sampling, now: Now) -> Calibration:
    if sampling.batches is None:
        return calibrate(body, sampling.min_sample_ns, now)
    return repeat(body, sampling.batches, now)


def _run_ns_per_op(samples: Sequence[Sample], info: BodyInfo, overhead_ns: float) -> float:
    """The first decile over batches that all do the same. Batches that are unlike by design
    (the body prepared once for all of them) are taken together."""
    if info.batches:
        pieces = [sum(sample.run_ns) / info.batches for sample in samples]
    else:
        pieces = [float(took) for sample in samples for took in sample.run_ns]
    return max(0.0, quantile(pieces, RUN_SHARE) - overhead_ns) / info.ops


def _noisy_metrics(
    samples: list[Sample], ops: int, batch_ops: int, payload: int, sustained: bool
) -> dict[str, float]:
    """Per operation or per sample, as ``metrics.py`` declares them."""
    count = len(samples)
    total = sum((sample.counters for sample in samples), Counters())
    raw = sum(sample.raw_ns for sample in samples)
    found: dict[str, float] = {
        "overhead_share": min(1.0, sum(s.overhead_ns for s in samples) / raw) if raw else 1.0,
        "gc_timed": total.gc_runs,
        "minor_faults_per_op": total.minor_faults / (ops * count),
        "major_faults": total.major_faults,
        "cpu_user_ns_per_op": total.cpu_user_ns / (ops * count),
        "cpu_sys_ns_per_op": total.cpu_sys_ns / (ops * count),
        "voluntary_switches": total.voluntary_switches / count,
        "involuntary_switches": total.involuntary_switches / count,
        "prepare_ns_per_op": sum(sample.prepare_ns for sample in samples) / (ops * count),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    if sustained and payload:
        slowest = _slowest(samples)
        took, at = max((took, at) for at, took in enumerate(slowest.batch_ns))
        found["slowest_bytes_per_s"] = payload * batch_ops / (took / 1e9)
        found["slowest_blocked_share"] = max(0, slowest.run_ns[at] - slowest.cpu_ns[at]) / took
    return found


def _slowest(samples: list[Sample]) -> Sample:
    """That with the slowest batch."""
    return max(samples, key=lambda sample: max(sample.batch_ns))


def _counted(body: Body, result: Measurement) -> None:
    """The counting pass: a fresh body, one batch to warm it, one counted. Its work depends on
    the cell alone, so the counts agree between processes and runs."""
    try:
        batches = body.info.batches or 1

        def sample() -> None:
            for _ in range(batches):
                body.run()

        body.prepare()
        sample()
        body.verify()
        body.prepare()
        counted = count_pass(sample if body.info.batches else body.run)
        loop = count_pass(empty_loop(body.info.loop)) if body.info.loop is not None else None
        body.verify()
        result.exact.update(_exact_metrics(counted, loop, body.info.ops * batches))
        result.exact.update(body.metrics())
    finally:
        body.close()


def _exact_metrics(counted: Counted, loop: Counted | None, ops: int) -> dict[str, float]:
    """Per operation; what the empty ``loop`` allocates is not the operation's."""
    found: dict[str, float] = {"exact_ops": ops}
    if counted.allocations is not None and counted.allocated is not None:
        calls = (loop.allocations or 0) if loop else 0
        size = (loop.allocated or 0) if loop else 0
        found["allocs_per_op"] = max(0, counted.allocations - calls) / ops
        found["alloc_bytes_per_op"] = max(0, counted.allocated - size) / ops
    if counted.written is not None:
        found["written_bytes_per_op"] = counted.written[0] / ops
        found["write_calls_per_op"] = counted.written[1] / ops
    found["gc_count"] = float(sum(counted.gc_runs))
    for generation, runs in enumerate(counted.gc_runs):
        found[f"gc_gen{generation}"] = float(runs)
    return found
