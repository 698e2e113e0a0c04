# cython: language_level=3
"""The counting allocator: exact heap bytes and allocations of a call."""

from libc.stdint cimport uint64_t

cdef extern from "alloc_counter.h":
    uint64_t bench_alloc_calls
    uint64_t bench_alloc_bytes
    void bench_counting_start()
    void bench_counting_stop()


def count_allocations(call):
    """Run ``call()`` and return (allocations, bytes asked for) of everything it allocated, in
    all threads. What calling it costs by itself is not counted: the bound method and its frame
    exist before."""
    cdef uint64_t calls, size
    bench_counting_start()
    try:
        call()
        calls = bench_alloc_calls
        size = bench_alloc_bytes
    finally:
        bench_counting_stop()
    return calls, size
