/* The limits once more, written without the tool's code, for `make check-limits`.
 *
 * usage: independent NAME SIZE RING -> nanoseconds per operation, the best of several rounds
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static size_t size, ring;
static char *from, *to;
static int fd;

static double copies(void) {
    size_t count = (64u << 20) / size, slots = ring / size;
    double began = now();
    for (size_t i = 0; i < count; i++) {
        memcpy(to + (i % slots) * size, from, size);
        __asm__ volatile("" ::: "memory");
    }
    return (now() - began) / count;
}

static double fresh(int flags, int file) {
    char *map = mmap(NULL, ring, PROT_READ | PROT_WRITE, flags, file, 0);
    double began = now();
    for (size_t at = 0; at + 4096 <= ring; at += 4096) memcpy(map + at, from, 4096);
    double each = (now() - began) / (ring / 4096);
    munmap(map, ring);
    return each;
}

static double memory(void) { return fresh(MAP_PRIVATE | MAP_ANONYMOUS, -1); }

static double file_pages(void) {
    if (ftruncate(fd, 0) || posix_fallocate(fd, 0, ring)) exit(3);
    return fresh(MAP_SHARED, fd);
}

static double writes(void) {
    size_t count = 20000;
    lseek(fd, 0, SEEK_SET);
    double began = now();
    for (size_t i = 0; i < count; i++)
        if (write(fd, from, size) != (ssize_t)size) exit(3);
    return (now() - began) / count;
}

static double syncs(void) {
    double began = now();
    for (int i = 0; i < 20; i++)
        if (pwrite(fd, from, size, i * size) != (ssize_t)size || fdatasync(fd)) exit(3);
    return (now() - began) / 20;
}

static sem_t left, right;
static void *answer(void *unused) {
    for (int i = 0; i < 1000; i++) sem_wait(&left), sem_post(&right);
    return unused;
}

static double wakes(void) {
    pthread_t thread;
    sem_init(&left, 0, 0), sem_init(&right, 0, 0);
    pthread_create(&thread, NULL, answer, NULL);
    double began = now();
    for (int i = 0; i < 1000; i++) sem_post(&left), sem_wait(&right);
    double each = (now() - began) / 2000;
    pthread_join(thread, NULL);
    return each;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    struct { const char *name; double (*run)(void); } all[] = {
        {"memcpy", copies}, {"first_touch", memory}, {"first_touch_file", file_pages},
        {"write_syscall", writes}, {"fdatasync", syncs}, {"handoff", wakes}};
    size = strtoull(argv[2], NULL, 10), ring = strtoull(argv[3], NULL, 10);
    from = aligned_alloc(4096, (size + 8191) / 4096 * 4096);
    to = mmap(NULL, ring, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(to, ring, MADV_HUGEPAGE);
    memset(from, 7, size > 4096 ? size : 4096), memset(to, 1, ring);
    char path[] = "limit-XXXXXX";
    fd = mkstemp(path), unlink(path);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i].name, argv[1])) continue;
        double best = 1e18;
        for (int round = 0; round < 15; round++) {
            double each = all[i].run();
            if (each < best) best = each;
        }
        printf("%.3f\n", best);
        return 0;
    }
    return 2;
}
