# ledger.h as Cython sees it.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "numpy/random/bitgen.h":
    ctypedef struct bitgen_t:
        pass

cdef extern from "ledger.h" nogil:
    const uint64_t ENDLESS
    const uint32_t NO_ITEM
    ctypedef struct ledger_t:
        bitgen_t *bits
        uint64_t total
        uint32_t items
        uint32_t size
        int cumulative
        uint64_t *sums
        const uint64_t *weights
        uint64_t *left
    uint32_t ledger_pick(const ledger_t *ledger)
    void ledger_take(ledger_t *ledger, uint32_t index)
    void ledger_put_back(ledger_t *ledger, uint32_t index)
    uint32_t ledger_draw(ledger_t *ledger, uint32_t *drawn, uint32_t count)
    int ledger_redo(ledger_t *ledger, const uint8_t *drawn, size_t count)
    void ledger_undo(ledger_t *ledger, const uint32_t *drawn, uint32_t count)
    void ledger_build(ledger_t *ledger)
