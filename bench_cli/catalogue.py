"""What scenario files may name: workloads with their parameters, backends and their twins.

The loader takes a catalogue as an argument, so that it knows no engine, and a test can bring a
small one of its own. ``from_registry`` is the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench_cli.interfaces import Parameter, Workload

CORES = ("native", "python")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """``backends`` maps a backend's full name (``engine.variant``) to the twins it has.
    ``native_missing`` is the reason why the compiled twins cannot run here, None when they can;
    ``native_remedy`` what to do about it."""

    workloads: Mapping[str, Workload]
    backends: Mapping[str, tuple[str, ...]]
    default_core: str
    native_missing: str | None = None
    native_remedy: str | None = None

    def backends_of(self, engine: str) -> list[str]:
        return sorted(name for name in self.backends if name.partition(".")[0] == engine)

    def cores_of(self, backend: str) -> tuple[str, ...]:
        """The twins of a backend; one given as ``module:Class`` runs as one, called "python"."""
        return self.backends.get(backend, ("python",))

    def parameters_of(self, workload: str) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.workloads[workload].parameters}

    def kinds_of(self, workload: str) -> dict[str, str]:
        """Kind by parameter name, for reading and writing ids; empty for an unknown workload."""
        if workload not in self.workloads:
            return {}
        return {name: p.kind for name, p in self.parameters_of(workload).items()}


def from_registry() -> Catalogue:
    """Everything that is installed. Imports the workloads, but no engine beyond the compiled
    twins' availability."""
    from bench_cli import registry

    return Catalogue(
        workloads=registry.workloads(),
        backends={name: tuple(entry.cores) for name, entry in registry.backends().items()},
        default_core=registry.default_core(),
        native_missing=registry.native_missing(),
        native_remedy=registry.NATIVE_REMEDY,
    )
