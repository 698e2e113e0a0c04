from bench_cli.rewards import pool, queue

class Pool(pool.Pool):
    """``pool.Pool``, compiled."""

class Queue(queue.Queue):
    """``queue.Queue``, compiled."""

class Backend(pool.Backend):
    """``interfaces.PoolBackend``."""
