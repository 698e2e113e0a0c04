# Part of native.pyx: which files the records leave alive, without a Python call per write. The
# encodings are those of payloads.py.

cdef extern from "Python.h":
    str PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)
    object PyMemoryView_FromMemory(char *memory, Py_ssize_t size, int flags)
    int PyBUF_READ
    void PyObject_GC_UnTrack(object held)


cdef int live_record(void *context, unsigned long long sequence, unsigned char kind,
                     const unsigned char *payload, size_t length) except -1:
    cdef dict files = <dict>context
    if kind == 2:
        return live_write(files, sequence, payload, length)
    if kind == 3 or kind == 4:
        rest = PyMemoryView_FromMemory(<char *>payload, length, PyBUF_READ)
        if kind == 3:
            files.pop(decode_remove(rest), None)
        else:
            truncate_live(files, *decode_truncate(rest))
    return 0


cdef int live_write(dict files, unsigned long long sequence, const unsigned char *payload,
                    size_t length) except -1:
    cdef uint64_t offset = 0
    cdef uint32_t name_length = 0
    cdef size_t start = 12
    cdef str name
    cdef list writes, found
    if length >= start:
        memcpy(&offset, payload, 8)
        memcpy(&name_length, payload + 8, 4)
        start += name_length
    if length < start:
        decode_write(PyMemoryView_FromMemory(<char *>payload, length, PyBUF_READ))  # raises
    name = PyUnicode_DecodeUTF8(<const char *>payload + 12, name_length, "surrogateescape")
    write = (sequence, offset, length - start)
    PyObject_GC_UnTrack(write)  # numbers alone can be part of no cycle: nothing to look through
    writes = [write]
    found = <list>PyDict_SetDefault(files, name, writes)
    if found is not writes:
        found.append(write)
    return 0
