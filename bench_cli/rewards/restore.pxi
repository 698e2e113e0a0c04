# Snapshots and recovery of a pool, part of native.pyx.

cdef object freeze(Pool pool):
    cdef array left = clone(STOCK, pool.ledger.items, False)
    cdef uint32_t index
    pool._enter()
    pool._busy = True
    try:
        pool._check_open()
        if pool._log.log is None:
            raise Unsupported("a snapshot needs a log: it says up to which record it holds")
        pool._settle()
        pool._sync()
        for index in range(pool.ledger.items):
            left.data.as_ulonglongs[index] = (
                ENDLESS if pool._stock_at_start[index] is None
                else pool.ledger.left[index] + pool._reserved[index])
        return Frozen(covered_by(pool._log.log), pool._next_id, left)
    finally:
        pool._leave()


cdef int forget(Pool pool, covered) except -1:
    pool._enter()
    if pool._log.log is None or pool._closed:
        return 0
    pool._busy = True
    try:
        drop_covered(pool._log.log, covered)
    finally:
        pool._leave()
    return 0


cdef int restore(Pool pool, frozen) except -1:
    cdef array left = frozen.left
    if left.typecode != "Q" or len(left) != pool.ledger.items:
        raise ValueError(f"the stock of {pool.ledger.items} items is needed")
    memcpy(pool.ledger.left, left.data.as_ulonglongs, pool.ledger.items * sizeof(uint64_t))
    ledger_build(&pool.ledger)
    pool._next_id = frozen.next_id
    pool._reached = frozen.covered
    return 0


# --- replay ------------------------------------------------------------------------------------

cdef int replay_record(
    void *context, unsigned long long sequence, unsigned char kind,
    const unsigned char *payload, size_t length
) except -1:
    """One record from a compiled log; the usual one without a Python object."""
    cdef Pool pool = <Pool>context
    cdef draw_record record
    if sequence <= pool._reached:
        return 0
    if kind == DRAW and length == sizeof(record) and not pool._log.text:
        memcpy(&record, payload, sizeof(record))
        if (sequence == pool._reached + 1
                and record.id == pool._next_id and record.index < pool.ledger.items
                and pool.ledger.left[record.index]):
            pool._reached = sequence
            ledger_take(&pool.ledger, record.index)
            pool._next_id += 1
            return 0
    if kind == DRAW or kind == DRAWS:
        replay_one(pool, sequence, kind, memoryview(payload[:length]))
    else:
        follows(pool, sequence)
    return 0


cdef int replay_one(Pool pool, uint64_t sequence, kind, payload) except -1:
    cdef const uint8_t[::1] view
    if not follows(pool, sequence) or kind not in (DRAW, DRAWS):
        return 0
    if not pool._log.text:
        view = payload
        if view.shape[0] and replay_binary(pool, kind, &view[0], view.shape[0]):
            return 0
    return replay_checked(pool, sequence, kind, payload)


cdef int follows(Pool pool, uint64_t sequence) except -1:
    """0 for a record that the snapshot covers."""
    if sequence <= pool._reached:
        return 0
    if sequence != pool._reached + 1:
        pool.snapshots.refuse_gap(sequence)
    pool._reached = sequence
    return 1


cdef bint replay_binary(Pool pool, int kind, const uint8_t *payload, size_t length):
    """False, and nothing applied, for whatever does not fit in every respect."""
    cdef uint64_t first_id
    cdef uint32_t draws = (length - 8) // 4
    if length < 12 or length % 4 or (kind == DRAW and length != 12):
        return False
    memcpy(&first_id, payload, 8)
    if first_id != pool._next_id or not ledger_redo(&pool.ledger, payload + 8, draws):
        return False
    pool._next_id += draws
    return True


cdef int replay_checked(Pool pool, sequence, kind, payload) except -1:
    """Step by step, as the Python twin does, in order to name what does not fit."""
    cdef uint32_t index
    first_id, indices = pool._log.records.parse(kind, payload)
    check_draws(pool._next_id, first_id, indices, pool.ledger.items)
    for index in indices:
        if pool.ledger.left[index] == 0:
            raise CatalogueError(
                f"record {sequence} draws {pool.names[index]!r} although its stock is used up")
        ledger_take(&pool.ledger, index)
        pool._next_id += 1
    return 0
