# Part of native.pyx: the heads of file records, without a Python object. Whatever is not plain
# (surrogate escapes, names too long, numbers out of range) goes through payloads.py, which knows
# the rules and the errors.

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length)
    void PyErr_Clear()
    bint PyLong_CheckExact(object number)
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow)

cdef enum:
    NAME_AT = 12  # offset u64, name length u32
    WRITE_HEAD = 268  # names of up to 256 bytes: a path beyond that is rare

cdef Py_ssize_t LONGEST_NAME = MAX_NAME


cdef inline const char *utf8_of(str name, Py_ssize_t *length) noexcept:
    """The string's own UTF-8, alive as long as the string; NULL where it is not plain."""
    cdef const char *text = PyUnicode_AsUTF8AndSize(name, length)
    if text == NULL:
        PyErr_Clear()  # encoding it the long way finds the bytes, or raises again
    elif length[0] > LONGEST_NAME:
        return NULL
    return text


cdef inline bint plain_number(number, uint64_t *value) noexcept:
    """Whether it is an ``int`` in 0..MAX_UNSIGNED."""
    cdef int overflow = 0
    cdef long long found
    if not PyLong_CheckExact(number):
        return False
    found = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow or found < 0:
        return False
    value[0] = <uint64_t>found
    return True


cdef inline size_t plain_write_head(uint8_t *to, str name, offset) noexcept:
    """What precedes the data of a write, at ``to``; its length, 0 where it is not plain."""
    cdef uint64_t number
    cdef uint32_t size
    cdef Py_ssize_t length
    cdef const char *text = utf8_of(name, &length)
    if text == NULL or length > WRITE_HEAD - NAME_AT or not plain_number(offset, &number):
        return 0
    size = <uint32_t>length
    memcpy(to, &number, 8)
    memcpy(to + 8, &size, 4)
    memcpy(to + NAME_AT, text, length)
    return NAME_AT + length
