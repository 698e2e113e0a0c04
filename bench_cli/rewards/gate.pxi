# Waiting, part of native.pyx.

cdef class Gate:
    """Where threads wait for another one to finish. ``open`` may be called too often, never too
    seldom: those who wait look again."""
    cdef object _permits
    cdef int _waiting

    def __cinit__(self):
        self._permits = threading.Semaphore(0)

    cdef int wait(self) except -1:
        self._waiting += 1
        try:
            self._permits.acquire()
        finally:
            self._waiting -= 1
        return 0

    cdef inline int open(self) except -1:
        if self._waiting:
            self._permits.release(self._waiting)
        return 0
