"""A workload without work, on an engine with a virtual clock: it tries the harness itself."""

from __future__ import annotations

from bench_cli.interfaces import BodyInfo, Parameter, Setting
from bench_cli.workloads.base import Declared, PlainBody, count, expect

GROUP = "Synthetic operations"
OPS = 1_000_000
NOISE = (
    "within", "between", "spiked_samples", "spiked_processes", "skew", "drift", "step", "step_at",
)  # fmt: skip


class OpBody(PlainBody):
    """``OPS`` operations per batch: enough virtual time that one batch is a sample."""

    def __init__(self, setting: Setting) -> None:
        given = setting.params
        engine = setting.engines.resolve(str(setting.backend))
        noise = {name: int(given[name]) for name in NOISE}
        self._bytes = int(given["bytes"])
        self._machine = engine.open(
            int(given["cost"]), noise, number=process_number(setting), seed=int(given["seed"])
        )
        self._before = 0
        self.info = BodyInfo(OPS, now=self._machine.now)

    def prepare(self) -> None:
        self._before = self._machine.done

    def run(self) -> None:
        self._machine.work(OPS)

    def verify(self) -> None:
        expect("operations done", self._machine.done - self._before, OPS)
        self._machine.next_sample()

    def metrics(self) -> dict[str, float]:
        return {"wal_bytes_per_op": float(self._bytes)} if self._bytes else {}


def process_number(setting: Setting) -> int:
    """Which process of its session this is: the runner names their scratch folders by number."""
    names = [place.name for place in setting.scratch.parents if place.name.isdecimal()]
    return int(names[0]) if names else 0


def _thousandths(name: str, help: str) -> Parameter:
    return count(name, 0, f"{help}, in thousandths", least=0, most=1_000)


WORKLOADS = (
    Declared(
        "synthetic.op",
        "synthetic",
        GROUP,
        "an operation that takes a drawn time on a virtual clock",
        OpBody,
        (
            Parameter("cost", "time", 1_000, "nominal time of an operation",
                      minimum=1, maximum=10**9),
            _thousandths("within", "deviation between samples of a process"),
            _thousandths("between", "deviation between processes"),
            _thousandths("spiked_samples", "samples that take twice as long"),
            _thousandths("spiked_processes", "processes that take twice as long"),
            _thousandths("skew", "mean of an exponential tail per process"),
            _thousandths("drift", "slower per 100 processes"),
            _thousandths("step", "slower from process number step_at on"),
            count("step_at", 0, "number of the first process after the step", least=0),
            count("bytes", 0, "bytes logged per operation, exact; 0: no such metric", least=0),
            count("seed", 1, "settles every drawn time", least=0),
        ),
    ),
)  # fmt: skip
