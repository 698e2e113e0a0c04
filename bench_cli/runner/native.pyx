# cython: language_level=3
"""The counting allocator: exact heap bytes and allocations of a call."""

from libc.stdint cimport uint64_t

cdef extern from "alloc_counter.h":
    uint64_t bench_alloc_calls
    uint64_t bench_alloc_bytes
    void bench_counting_start()
    void bench_counting_stop()

cdef bint counting = False


def count_allocations(call):
    """Run ``call()`` and return (allocations, bytes asked for) of everything it allocated, in
    all threads. What calling it costs by itself is not counted: the bound method and its frame
    exist before."""
    global counting
    cdef uint64_t calls, size
    if counting:  # a layer over itself would call itself for ever
        raise RuntimeError("allocations are being counted already")
    counting = True
    bench_counting_start()
    try:
        call()
        calls = bench_alloc_calls
        size = bench_alloc_bytes
    finally:
        bench_counting_stop()
        counting = False
    return calls, size
