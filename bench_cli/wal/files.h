/* How the log reaches its file, per record: a table of functions.
 *
 * Entries are called without the interpreter lock. In production they are system calls; under an
 * injected FileSystem they take the lock and call back to it, so that the same fault tests run over
 * both twins. Rare work (create, preallocate, map, rename ...) goes
 * through the FileSystem object itself, whose production methods are one system call each.
 */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include <errno.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES_RAISED (-1000000) /* a Python exception is set */

typedef struct wal_files wal_files;
struct wal_files {
    int fd;
    void *base; /* of the mapping */
    void *context;
    int64_t delay; /* ns by which the slow entries sync longer */
    /* writes all; the number of calls it took, -errno, or FILES_RAISED */
    long (*write)(wal_files *, struct iovec *parts, int count, long long offset);
    /* tells of a store into the mapping; NULL when nobody listens. 0 or FILES_RAISED */
    long (*stored)(wal_files *, long long offset, long long length);
    /* 0, -errno or FILES_RAISED */
    long (*sync)(wal_files *, long long offset, long long length);
};

static long files_write(wal_files *files, struct iovec *parts, int count, long long offset)
{
    long calls = 0;
    while (count) {
        ssize_t done = count == 1
                           ? pwrite(files->fd, parts->iov_base, parts->iov_len, (off_t)offset)
                           : pwritev(files->fd, parts, count, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done ? -errno : -EIO;
        calls++;
        offset += done;
        while (count && (size_t)done >= parts->iov_len) {
            done -= parts->iov_len;
            parts++, count--;
        }
        if (count) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= done;
        }
    }
    return calls;
}

static long files_sync(wal_files *files, long long offset, long long length)
{
    (void)offset, (void)length;
    while (fdatasync(files->fd))
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* Only the pages of the range: fdatasync would write the whole file, the zeros faulted in ahead
 * included, and write-protect all of it, so that every later store to a new page faults again. */
static long files_sync_range(void *base, long long offset, long long length)
{
    long long page = offset & -(long long)sysconf(_SC_PAGESIZE);
    while (msync((char *)base + page, (size_t)(offset + length - page), MS_SYNC))
        if (errno != EINTR)
            return -errno;
    return 0;
}

static long files_sync_mapped(wal_files *files, long long offset, long long length)
{
    return files_sync_range(files->base, offset, length);
}

static long files_delay(const wal_files *files, long result)
{
    struct timespec left = {files->delay / 1000000000, files->delay % 1000000000};
    while (result == 0 && nanosleep(&left, &left) && errno == EINTR)
        ;
    return result;
}

/* As on a slower device, without the interpreter lock, which many committers want meanwhile. */
static long files_sync_slow(wal_files *files, long long offset, long long length)
{
    return files_delay(files, files_sync(files, offset, length));
}

static long files_sync_mapped_slow(wal_files *files, long long offset, long long length)
{
    return files_delay(files, files_sync_mapped(files, offset, length));
}

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/* Fault every page in, writable, keeping what it holds. */
static void files_populate(unsigned char *base, size_t length)
{
    if (madvise(base, length, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t at = 0; at < length; at += 4096) /* atomic: others may be writing there */
        __atomic_fetch_or(base + at, 0, __ATOMIC_RELAXED);
}

/* Monotonic, in ns. */
static uint64_t files_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
