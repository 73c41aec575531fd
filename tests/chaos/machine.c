/* The machine under one process: its clock may be wrong and its disk may be full.

   Loaded before libc. CHAOS_MACHINE names a file of two native 64-bit integers, shared with whoever strikes:
   seconds that the clock is ahead, and whether files may grow. What a full disk still takes, this one takes: writes
   into what a file already holds, pipes, sockets, the three standard streams. The monotonic clock is never touched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))found(&real_##name, #name))

static volatile const int64_t *machine;
static void *real_clock_gettime, *real_sem_timedwait, *real_write, *real_writev, *real_pwrite, *real_pwrite64,
    *real_pwritev, *real_pwritev64, *real_posix_fallocate, *real_posix_fallocate64, *real_fallocate, *real_fallocate64;

static void *found(void **real, const char *name) {
    if (!*real) *real = dlsym(RTLD_NEXT, name);
    return *real;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_MACHINE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *seen = mmap(NULL, 2 * sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (seen != MAP_FAILED) machine = seen;
    close(file);
}

/* ---- the clock */

static int64_t ahead(void) { return machine ? machine[0] : 0; }

int clock_gettime(clockid_t which, struct timespec *now) {
    int failed = REAL(clock_gettime)(which, now);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}

/* Its deadline was reckoned by our clock, and the kernel waits by its own. */
int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    struct timespec real = {until->tv_sec - ahead(), until->tv_nsec};
    return REAL(sem_timedwait)(semaphore, &real);
}

/* ---- the disk */

static int is_full(int file, int64_t from, int64_t length) {
    struct stat found;
    if (!machine || !machine[1] || file <= STDERR_FILENO || length <= 0) return 0;
    if (fstat(file, &found) || !S_ISREG(found.st_mode)) return 0;
    if (from < 0) from = fcntl(file, F_GETFL) & O_APPEND ? found.st_size : lseek(file, 0, SEEK_CUR);
    if (from + length <= found.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

static int64_t all(const struct iovec *parts, int count) {
    int64_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    return length;
}

ssize_t write(int file, const void *data, size_t length) {
    return is_full(file, -1, length) ? -1 : REAL(write)(file, data, length);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    return is_full(file, -1, all(parts, count)) ? -1 : REAL(writev)(file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t length, off_t from) {
    return is_full(file, from, length) ? -1 : REAL(pwrite)(file, data, length, from);
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t from) {
    return is_full(file, from, length) ? -1 : REAL(pwrite64)(file, data, length, from);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t from) {
    return is_full(file, from, all(parts, count)) ? -1 : REAL(pwritev)(file, parts, count, from);
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t from) {
    return is_full(file, from, all(parts, count)) ? -1 : REAL(pwritev64)(file, parts, count, from);
}

int posix_fallocate(int file, off_t from, off_t length) {
    return is_full(file, from, length) ? ENOSPC : REAL(posix_fallocate)(file, from, length);
}

int posix_fallocate64(int file, off64_t from, off64_t length) {
    return is_full(file, from, length) ? ENOSPC : REAL(posix_fallocate64)(file, from, length);
}

int fallocate(int file, int mode, off_t from, off_t length) {
    return is_full(file, from, length) ? -1 : REAL(fallocate)(file, mode, from, length);
}

int fallocate64(int file, int mode, off64_t from, off64_t length) {
    return is_full(file, from, length) ? -1 : REAL(fallocate64)(file, mode, from, length);
}
