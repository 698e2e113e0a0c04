/* Taking turns under the interpreter lock: those who find somebody at work without it sleep until
 * he is done. `turns` and `waiting` are read and changed with the lock only. */
#ifndef BENCH_TURNS_H
#define BENCH_TURNS_H

#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Without the interpreter lock: return once `turns` is no longer `seen`, or early. */
static void turns_wait(uint32_t *turns, uint32_t seen)
{
    syscall(SYS_futex, turns, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void turns_next(uint32_t *turns, int waiting)
{
    __atomic_add_fetch(turns, 1, __ATOMIC_RELEASE);
    if (waiting)
        syscall(SYS_futex, turns, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
