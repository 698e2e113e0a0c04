"""Read this first: what the parts promise each other.

Engines (a write-ahead log, a reward pool, a block cache) implement the Protocols of this room;
workloads time them through these Protocols and nothing else; the runner times workloads without
knowing any engine. Every engine exists twice, as a Python twin (the specification) and as a
compiled twin with the same behaviour call for call: same results, same error types and fields,
same bytes on disk. Errors are those of ``errors.py``.

Units: sizes and offsets in bytes, times in nanoseconds, sequence numbers and ids from 1.
"""

from bench_cli.interfaces.cache import (
    BlockCache,
    BlockStore,
    CacheBackend,
    CacheOptions,
    CacheStats,
    DirtyBlock,
    Waiter,
)
from bench_cli.interfaces.engine import (
    Backend,
    Buffer,
    Capability,
    Clock,
    Durability,
    FileSystem,
    MappedFile,
)
from bench_cli.interfaces.log import (
    Apply,
    CommittedLog,
    Damage,
    FlushPolicy,
    FlushStats,
    LiveFiles,
    LogBackend,
    LogOptions,
    LogStats,
    Record,
    RecordKind,
    Recovery,
    SnapshotInfo,
    SnapshotsRead,
    TruncatableLog,
    WriteAheadLog,
)
from bench_cli.interfaces.rewards import (
    DrawCallback,
    DrawQueue,
    Item,
    PoolBackend,
    RewardPool,
    SnapshotPool,
)
from bench_cli.interfaces.workload import (
    Body,
    BodyInfo,
    Engines,
    Needs,
    Parameter,
    Reporter,
    Setting,
    SteppedBody,
    Workload,
)

__all__ = [
    "Apply",
    "Backend",
    "BlockCache",
    "BlockStore",
    "Body",
    "BodyInfo",
    "Buffer",
    "CacheBackend",
    "CacheOptions",
    "CacheStats",
    "Capability",
    "Clock",
    "CommittedLog",
    "Damage",
    "DirtyBlock",
    "DrawCallback",
    "DrawQueue",
    "Durability",
    "Engines",
    "FileSystem",
    "FlushPolicy",
    "FlushStats",
    "Item",
    "LiveFiles",
    "LogBackend",
    "LogOptions",
    "LogStats",
    "MappedFile",
    "Needs",
    "Parameter",
    "PoolBackend",
    "Record",
    "RecordKind",
    "Recovery",
    "Reporter",
    "RewardPool",
    "Setting",
    "SnapshotInfo",
    "SnapshotPool",
    "SnapshotsRead",
    "SteppedBody",
    "TruncatableLog",
    "Waiter",
    "Workload",
    "WriteAheadLog",
]
