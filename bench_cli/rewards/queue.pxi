# The request queue, part of native.pyx. Two arrays of callbacks change places: one collects what
# is submitted while the group in the other is answered.

cdef struct request_t:
    PyObject *callback  # owned
    uint64_t draw_id
    uint32_t index      # NO_ITEM: the draw failed


@cython.final
cdef class Queue:
    """``queue.Queue``, compiled."""
    cdef Pool _pool
    cdef Py_ssize_t _capacity
    cdef request_t *_waiting
    cdef Py_ssize_t _waiting_count
    cdef request_t *_group
    cdef bint _memory
    cdef bint _durable
    cdef bint _closed
    cdef bint _idle  # the worker sleeps, or is about to
    cdef unsigned long _drainer
    cdef object _worker
    cdef object _work
    cdef Gate _done

    def __init__(self, Pool pool not None, *, capacity, ack, mode):
        check_choices(capacity, ack, mode)
        if self._pool is not None:
            raise TypeError("a queue is initialized once")
        self._capacity = capacity
        self._waiting = <request_t *>PyMem_RawCalloc(capacity, sizeof(request_t))
        self._group = <request_t *>PyMem_RawCalloc(capacity, sizeof(request_t))
        if not (self._waiting and self._group):
            raise MemoryError
        self._memory = ack == "memory"
        self._durable = ack == "durable"
        self._done = Gate()
        self._pool = pool
        if mode == "worker":
            self._work = threading.Lock()
            self._work.acquire()
            self._worker = threading.Thread(target=self._serve, name="draw-queue", daemon=True)
            self._worker.start()

    def __dealloc__(self):
        cdef Py_ssize_t place
        for place in range(self._waiting_count):
            Py_DECREF(<object>self._waiting[place].callback)
        PyMem_RawFree(self._waiting)
        PyMem_RawFree(self._group)

    def submit(self, callback):
        if self._closed:
            raise QueueClosed("the queue is closed")
        if self._waiting_count >= self._capacity:
            raise QueueFull(f"{self._capacity} requests wait already", capacity=self._capacity)
        Py_INCREF(callback)
        self._waiting[self._waiting_count].callback = <PyObject *>callback
        self._waiting_count += 1
        if self._drainer:
            return
        if self._worker is None:
            self._drain()
        elif self._idle:
            self._wake()

    def request(self):
        future, answer = request_future()
        self.submit(answer)
        return future

    def close(self):
        self._closed = True
        if self._drainer == PyThread_get_thread_ident():
            return
        if self._idle:
            self._wake()
        while self._drainer or (self._worker is not None and self._waiting_count):
            self._done.wait()
        if self._waiting_count:
            self._drain()
        if self._worker is not None:
            self._worker.join()
        self._pool.settle()

    # --- the worker --------------------------------------------------------------------------

    cdef int _wake(self) except -1:
        self._idle = False
        self._work.release()
        return 0

    def _serve(self):
        while True:
            if self._waiting_count:
                try:
                    self._drain()
                except BaseException as error:
                    report_error(error, self)
            elif self._closed:
                return
            else:
                self._idle = True
                self._work.acquire()

    # --- the drain ---------------------------------------------------------------------------

    cdef int _drain(self) except -1:
        """Nothing here gives up the interpreter lock between the last look at what waits and
        stepping down, so no request can slip in between. Nothing before stepping up either: making
        a list may run the collector, and that may run anything."""
        cdef list interrupts
        self._drainer = PyThread_get_thread_ident()
        interrupts = []
        while self._waiting_count:
            self._answer(interrupts)
        self._drainer = 0
        self._done.open()
        if interrupts:
            raise interrupts[0]
        return 0

    cdef int _answer(self, list interrupts) except -1:
        cdef Py_ssize_t count = self._waiting_count
        cdef Py_ssize_t place
        cdef dict errors = {}
        self._waiting, self._group = self._group, self._waiting
        self._waiting_count = 0
        if self._memory:
            for place in range(count):
                self._draw(place, errors, interrupts)
                self._reply(place, errors, interrupts)
            self._write_down(interrupts)
            return 0
        for place in range(count):
            self._draw(place, errors, interrupts)
        if self._durable and len(errors) < count:
            self._sync(count, errors, interrupts)
        for place in range(count):
            self._reply(place, errors, interrupts)
        return 0

    cdef int _draw(self, Py_ssize_t place, dict errors, list interrupts) except -1:
        cdef request_t *request = &self._group[place]
        try:
            if self._memory:
                self._pool.take_one(&request.draw_id, &request.index)
            else:
                self._pool.draw_one(&request.draw_id, &request.index)
        except BaseException as error:
            errors[place] = error
            request.index = NO_ITEM
            if not isinstance(error, Exception):
                interrupts.append(error)
        return 0

    cdef int _sync(self, Py_ssize_t count, dict errors, list interrupts) except -1:
        cdef Py_ssize_t place
        try:
            self._pool.sync()
        except BaseException as error:
            for place in range(count):
                errors.setdefault(place, error)
                self._group[place].index = NO_ITEM
            if not isinstance(error, Exception):
                interrupts.append(error)
        return 0

    cdef int _write_down(self, list interrupts) except -1:
        try:
            self._pool.settle()
        except Exception:
            pass  # the pool keeps what it could not log and raises at its next use, or at close
        except BaseException as interrupt:
            interrupts.append(interrupt)
        return 0

    cdef int _reply(self, Py_ssize_t place, dict errors, list interrupts) except -1:
        cdef request_t *request = &self._group[place]
        cdef object callback = <object>request.callback
        Py_DECREF(callback)  # the local holds its own
        request.callback = NULL
        try:
            if request.index == NO_ITEM:
                callback(0, None, errors[place])
            else:
                callback(
                    request.draw_id,
                    <object>PyTuple_GET_ITEM(<PyObject *>self._pool.names, request.index),
                    None)
        except Exception as raised:
            report_error(raised, callback)
        except BaseException as interrupt:
            interrupts.append(interrupt)
        return 0
