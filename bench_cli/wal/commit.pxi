# Part of native.pyx: flush policies and group commit, the compiled twin of flush.py. Who waits,
# and who syncs, is commit.h.

from libc.stdint cimport int64_t

cdef extern from "Python.h":
    int PyErr_CheckSignals() except -1

cdef extern from "commit.h" nogil:
    int64_t COMMIT_NONE
    int COMMIT_DONE
    int COMMIT_FAILED
    int COMMIT_POISONED
    int COMMIT_CLOSED
    int COMMIT_RAISED
    int COMMIT_INTERRUPTED
    int COMMIT_RECORD
    int COMMIT_CLOSING
    ctypedef struct commit:
        uint64_t last, end, durable
        int64_t since, in_sync
        int closed, failed, kind, driven
        uint64_t number, max_batch, ignored
        int64_t max_wait
        uint32_t forming
        uint64_t groups, grouped, largest
        int64_t oldest
        uint64_t[64] sizes
        void *context
        wal_files *files
        uint64_t *log_synced
        uint64_t *log_durable
        uint64_t *log_syncs
        int *retired
        long (*sync_retired)(void *) noexcept
        long (*raised)(void *) noexcept
        int64_t (*now)(void *) noexcept
    uint64_t commit_seen(const uint64_t *place)
    int64_t commit_time_seen(const int64_t *place)
    int commit_error_seen(const int *place)
    int64_t commit_clock(void *context) noexcept
    void commit_locks(commit *c)
    int commit_written(commit *c, uint64_t last, uint64_t end, uint64_t bytes, int64_t now)
    int commit_must_sync(const commit *c)
    void commit_fail(commit *c, int number)
    int commit_wait(commit *c, uint64_t ticket, int waited)
    void commit_leave(commit *c)
    int commit_serve(commit *c)
    void commit_halt(commit *c)
    int commit_close(commit *c)
    void commit_shut(commit *c, int synced, int64_t now)
    void commit_await_shut(commit *c)
    void commit_emptied(commit *c, uint64_t bytes)
    void commit_forget(commit *c)
    commit commit_look(commit *c)
    void commit_pause(commit *c)
    void commit_resume(commit *c, uint64_t end)
    int commit_begin_alone(commit *c)
    void commit_end_alone(commit *c)

from contextlib import suppress

from bench_cli.errors import LogError, LogWriteFailed
from bench_cli.filesystem import CLOCK
from bench_cli.flushing import check_policy
from bench_cli.interfaces import FlushStats
from bench_cli.wal import background

LONGEST = 1 << 62  # nanoseconds: to add it to any time is no overflow, and it never passes
KINDS = ("never", "async", "records", "bytes", "time", "record", "group")  # as in commit.h


# --- what the wait calls back for ------------------------------------------------------------

cdef long retired_synced(void *context) noexcept with gil:
    cdef NativeLog log = (<NativeCommit>context).log
    try:
        if log.state & BEHIND:
            catch_up(log)
        log.segments.sync_retired()
    except BaseException as error:
        log.raised = error
        return FILES_RAISED
    log.retired = 0
    return 0


cdef long errno_raised(void *context) noexcept with gil:
    cdef NativeLog log = (<NativeCommit>context).log
    if not isinstance(log.raised, OSError):
        return FILES_RAISED
    error, log.raised = log.raised, None
    return -(error.errno or errno.EIO)


cdef int64_t injected_now(void *context) noexcept with gil:
    return (<NativeCommit>context).clock.now_ns()


@cython.final
cdef class NativeCommit:
    """``flush.FlushedLog``, compiled, in front of a compiled log."""
    cdef readonly str format
    cdef readonly object policy
    cdef readonly object clock
    cdef NativeLog log
    cdef commit state
    cdef object thread
    cdef object __weakref__

    def __init__(self, NativeLog log not None, policy, clock=None):
        check_policy(policy)
        self.policy, self.format, self.log = policy, log.format, log
        self.clock = CLOCK if clock is None else clock
        self._configure(clock is not None)
        log.commit = &self.state
        background.watch(self)
        if policy.kind in background.BACKGROUND and clock is None:
            self.thread = background.start(self._serve)

    cdef int _configure(self, bint driven) except -1:
        cdef commit *c = &self.state
        commit_locks(c)
        c.kind, c.driven = KINDS.index(self.policy.kind), driven
        c.number, c.max_batch = min(self.policy.number, LONGEST), self.policy.max_batch
        c.max_wait = min(self.policy.max_wait_ns, LONGEST)
        c.last, c.durable, c.end = self.log.next - 1, self.log.next - 1, self.log.end
        c.since = c.in_sync = COMMIT_NONE
        c.context = <void *>self
        c.files = &self.log.files
        c.log_synced, c.log_durable = &self.log.synced, &self.log.durable
        c.log_syncs, c.retired = &self.log.syncs, &self.log.retired
        if self.log.storage == NONE:  # it keeps nothing, and says so
            c.log_durable = c.log_syncs = &c.ignored
        c.sync_retired, c.raised = retired_synced, errno_raised
        c.now = injected_now if driven else commit_clock
        return 0

    def __dealloc__(self):
        if self.log is not None:
            self.log.commit = NULL

    # --- records -----------------------------------------------------------------------------

    def append(self, payload, int kind=1):
        return self._put(self.log.append, (payload, kind))

    def append_many(self, payloads, int kind=1):
        return self._put(self.log.append_many, (payloads, kind))

    def append_write(self, str name not None, offset, data):
        return self._put(self.log.append_write, (name, offset, data))

    def append_remove(self, str name not None):
        return self._put(self.log.append_remove, (name,))

    def append_truncate(self, str name not None, size):
        return self._put(self.log.append_truncate, (name, size))

    def append_uploaded(self, str name not None, block, generation):
        return self._put(self.log.append_uploaded, (name, block, generation))

    cdef object _put(self, append, tuple arguments):
        cdef commit *c = &self.state
        cdef bint alone = c.kind == COMMIT_RECORD
        cdef int usable = 1
        self._check_usable()
        if alone:
            with nogil:
                usable = commit_begin_alone(c)
            if not usable:
                self._check_usable()
        try:
            ticket = append(*arguments)
            self._written()
            if commit_must_sync(c):
                self._wait(ticket, True)
            return ticket
        except (LogWriteFailed, LogPoisoned) as error:
            commit_fail(c, error.errno)
            raise
        finally:
            if alone:
                commit_end_alone(c)

    cdef int _written(self) except -1:
        """The interpreter lock was not given up since the append ended."""
        cdef NativeLog log = self.log
        cdef int64_t now = COMMIT_NONE
        if commit_time_seen(&self.state.since) == COMMIT_NONE:
            now = self._now()
        while not commit_written(&self.state, log.next - 1, log.end, log.bytes, now):
            now = self._now()
        return 0

    cdef int64_t _now(self) except? -1:
        return self.clock.now_ns() if self.state.driven else commit_clock(NULL)

    # --- durability --------------------------------------------------------------------------

    def wait(self, ticket):
        self._wait(ticket, False)

    def commit(self, payload, int kind=1):
        ticket = self.append(payload, kind)
        self._wait(ticket, True)
        return ticket

    def sync(self):
        self._check_usable()
        if self.state.last > commit_seen(&self.state.durable):
            self._wait(self.state.last, False)

    def tick(self):
        cdef commit *c = &self.state
        cdef int64_t since = commit_time_seen(&c.since)
        if c.closed or commit_error_seen(&c.failed) or since == COMMIT_NONE:
            return
        if self.policy.kind == "async" or (
            self.policy.kind == "time" and self._now() >= since + <int64_t>c.number
        ):
            with suppress(LogError):  # it is poisoned now, and says so from here on
                self._wait(c.last, False)

    cdef int _wait(self, ticket, bint waited) except -1:
        cdef commit *c = &self.state
        cdef uint64_t wanted
        cdef int result = COMMIT_INTERRUPTED
        if not 1 <= ticket <= c.last:
            raise ValueError(f"ticket {ticket}: the log has given 1 to {c.last}")
        wanted = ticket
        while result == COMMIT_INTERRUPTED and commit_seen(&c.durable) < wanted:
            with nogil:
                result = commit_wait(c, wanted, waited)
            waited = True
            if result == COMMIT_INTERRUPTED:
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    commit_leave(c)
                    raise
            elif result != COMMIT_DONE:
                self._refused(result)
        return 0

    cdef int _refused(self, int result) except -1:
        if result == COMMIT_RAISED:
            error, self.log.raised = self.log.raised, None
            raise error
        if result == COMMIT_FAILED:
            number = commit_error_seen(&self.state.failed)
            raise specification.write_failed(
                OSError(number, os.strerror(number)), self.log.segment.path
            )
        self._check_usable()
        raise AssertionError("a wait ended for no reason")

    cdef int _check_usable(self) except -1:
        if self.state.closed:
            raise LogClosed("the log is closed")
        cdef int failed = commit_error_seen(&self.state.failed)
        if failed:
            raise LogPoisoned(
                "an earlier write or sync failed",
                errno=failed,
                remedy="reopen the log and let it recover",
            )
        return 0

    def _serve(self):
        cdef int result
        with nogil:
            result = commit_serve(&self.state)
        if result == COMMIT_RAISED:
            self._refused(result)

    # --- the rest ----------------------------------------------------------------------------

    def reset(self):
        self._check_usable()
        self._pause()
        try:
            self.log.reset()
            commit_emptied(&self.state, self.log.bytes)
        except (LogWriteFailed, LogPoisoned) as error:
            commit_fail(&self.state, error.errno)
            raise
        finally:
            commit_resume(&self.state, self.log.end)

    def truncate_front(self, sequence):
        self._check_usable()
        self._pause()
        try:
            return self.log.truncate_front(sequence)
        except (LogWriteFailed, LogPoisoned) as error:
            commit_fail(&self.state, error.errno)
            raise
        finally:
            commit_resume(&self.state, self.log.end)

    cdef int _pause(self) except -1:
        """Alone with the log, first of all those who append, then of those who sync: a rotation
        takes the same two steps in the same order."""
        wait_for_work(self.log)
        begin_work(self.log)
        pause(self.log)
        end_work(self.log)
        return 0

    def stats(self):
        """The files must be open while they are asked for their size, or closed for good."""
        wait_for_work(self.log)
        while self.state.closed == COMMIT_CLOSING:
            with nogil:
                commit_await_shut(&self.state)
            wait_for_work(self.log)
        begin_work(self.log)
        try:
            return figures(self.log)
        finally:
            end_work(self.log)

    def flush_stats(self):
        cdef commit c = commit_look(&self.state)
        cdef int64_t first = c.since if c.in_sync == COMMIT_NONE else c.in_sync
        age = 0 if first == COMMIT_NONE else self._now() - first
        return FlushStats(
            groups=c.groups,
            records=c.grouped,
            largest_group=c.largest,
            max_unsynced_ns=max(c.oldest, age),
            sizes=tuple([c.sizes[power] for power in range(int(c.largest).bit_length())]),
            waiting=0 if c.failed or c.closed else c.forming,
        )

    def close(self):
        cdef commit *c = &self.state
        cdef bint first = commit_close(c)
        cdef bint synced = False
        self._pause()
        try:
            if first:
                if c.failed:
                    self.log.failed = c.failed
                    self.log.state |= FAILED
                self.log.close()
                synced = True
        except LogWriteFailed as error:
            commit_fail(c, error.errno)
            raise
        finally:
            if first:
                commit_shut(c, synced, self._now())
            commit_resume(c, self.log.end)
        if first and self.thread is not None:
            self.thread.join()

    def forked(self):
        commit_forget(&self.state)
        end_work(self.log)
        self.thread = None

    def halt(self):
        commit_halt(&self.state)
        if self.thread is not None:
            self.thread.join()


cdef int pause(NativeLog log) except -1:
    """Wait for a running sync, and let none begin. The log must be marked busy."""
    if log.commit != NULL:
        with nogil:
            commit_pause(<commit *>log.commit)
    return 0


cdef void resume(NativeLog log) noexcept:
    if log.commit != NULL:
        commit_resume(<commit *>log.commit, log.end)


cdef object under_policy(NativeLog log, options):
    """``log``, behind the flush policy of ``options`` if there is one."""
    return log if options.flush is None else NativeCommit(log, options.flush, options.clock)
