/* Faults of files and of the clock inside a process, for tests; preloaded with LD_PRELOAD.
 *
 * Reads of files below FAULTS_INPUTS fail while the file FAULTS_SWITCHES/read-error exists, and
 * wait while FAULTS_SWITCHES/read-stall exists. FAULTS_SWITCHES/clock holds seconds by which the
 * time of day is moved.
 *
 * Changes below FAULTS_OUTPUTS (files created, written, synced, renamed or removed) are counted;
 * their number goes to the file FAULTS_COUNT at the end. At change number FAULTS_AT the process
 * is killed in the middle of it (FAULTS_HOW=kill), the change fails (error), or the disk is full
 * from then on (full).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name)                                              \
    static __typeof__(&name) real;                              \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

enum needs { NO_SPACE, SPACE };

static atomic_long n_changes;

static int is_below(const char *path, const char *folder) {
    size_t n = folder ? strlen(folder) : 0;
    return n && path && !strncmp(path, folder, n) && path[n] == '/';
}

static const char *path_of(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, buffer, PATH_MAX - 1);
    buffer[n < 0 ? 0 : n] = 0;
    return buffer;
}

/* The error that a change must fail with, or 0. A process that is killed has written half of the data. */
static int fault(const char *path, enum needs needs, int fd, const void *data, size_t size) {
    if (!is_below(path, getenv("FAULTS_OUTPUTS"))) return 0;
    long now = ++n_changes;
    const char *at = getenv("FAULTS_AT"), *how = getenv("FAULTS_HOW");
    if (!at || !how || now < atol(at)) return 0;
    if (!strcmp(how, "full")) return needs == SPACE ? ENOSPC : 0;
    if (now > atol(at)) return 0;
    if (!strcmp(how, "kill")) {
        if (size > 1) syscall(SYS_write, fd, data, size / 2); /* half of it gets to the disk */
        kill(getpid(), SIGKILL);
    }
    return EIO;
}

#define FAIL_IF(code)           \
    do {                        \
        int failed = (code);    \
        if (failed) {           \
            errno = failed;     \
            return -1;          \
        }                       \
    } while (0)

static int is_on(const char *name) {
    const char *folder = getenv("FAULTS_SWITCHES");
    char path[PATH_MAX];
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return !access(path, F_OK);
}

static int read_fault(int fd) {
    int error = is_on("read-error"), stall = is_on("read-stall");
    char path[PATH_MAX];
    if (!(error || stall) || !is_below(path_of(fd, path), getenv("FAULTS_INPUTS"))) return 0;
    while (is_on("read-stall")) usleep(50000);
    return error ? EIO : 0;
}

ssize_t read(int fd, void *to, size_t size) {
    REAL(read);
    FAIL_IF(read_fault(fd));
    return real(fd, to, size);
}

ssize_t pread(int fd, void *to, size_t size, off_t offset) {
    REAL(pread);
    FAIL_IF(read_fault(fd));
    return real(fd, to, size, offset);
}

ssize_t pread64(int fd, void *to, size_t size, off64_t offset) {
    REAL(pread64);
    FAIL_IF(read_fault(fd));
    return real(fd, to, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    char path[PATH_MAX];
    if (getenv("FAULTS_OUTPUTS")) FAIL_IF(fault(path_of(fd, path), SPACE, fd, data, size));
    return real(fd, data, size);
}

int fsync(int fd) {
    REAL(fsync);
    char path[PATH_MAX];
    FAIL_IF(fault(path_of(fd, path), NO_SPACE, -1, 0, 0));
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    FAIL_IF(fault(to, NO_SPACE, -1, 0, 0));
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    FAIL_IF(fault(path, NO_SPACE, -1, 0, 0));
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    FAIL_IF(fault(path, SPACE, -1, 0, 0));
    return real(path, mode);
}

int link(const char *from, const char *to) {
    REAL(link);
    FAIL_IF(fault(to, SPACE, -1, 0, 0));
    return real(from, to);
}

#define OPEN(name)                                                          \
    int name(const char *path, int flags, ...) {                            \
        REAL(name);                                                         \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                       \
        if (flags & O_CREAT) FAIL_IF(fault(path, SPACE, -1, 0, 0));         \
        return real(path, flags, mode);                                     \
    }

OPEN(open)
OPEN(open64)

/* Seconds by which the time of day is moved; read without the functions that are replaced here. */
static long moved_s(void) {
    const char *folder = getenv("FAULTS_SWITCHES");
    char path[PATH_MAX], text[32] = "";
    if (!folder) return 0;
    snprintf(path, sizeof path, "%s/clock", folder);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long code = syscall(SYS_clock_gettime, clock, now);
    if (!code && clock == CLOCK_REALTIME) now->tv_sec += moved_s();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    long code = syscall(SYS_gettimeofday, now, zone);
    if (!code) now->tv_sec += moved_s();
    return code;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

__attribute__((destructor)) static void tell_count(void) {
    const char *path = getenv("FAULTS_COUNT");
    FILE *file = path && n_changes ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld\n", n_changes);
    fclose(file);
}
