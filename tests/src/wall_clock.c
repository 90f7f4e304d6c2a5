/* The wall clock of a process, set and made fast or slow by a test: loaded before the C library (LD_PRELOAD). Three numbers in the
   file LOCK_TESTS_WALL_CLOCK, shared with the test: microseconds to add, and parts per million to be fast by since a moment. The
   other clocks are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct change {
    long long add, fast_by, since;
};

static volatile const struct change *change;

__attribute__((constructor)) static void find_change(void) {
    const char *path = getenv("LOCK_TESTS_WALL_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof(struct change), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) change = map;
    close(file);
}

/* Not through the C library, whose functions these replace. */
static int original(clockid_t clock, struct timespec *time) {
    return (int)syscall(SYS_clock_gettime, clock, time);
}

static int changed(struct timespec *time) {
    int failed = original(CLOCK_REALTIME, time);
    if (failed != 0 || change == NULL) return failed;
    long long now = time->tv_sec * 1000000LL + time->tv_nsec / 1000;
    now += change->add + (now - change->since) * change->fast_by / 1000000;
    time->tv_sec = now / 1000000;
    time->tv_nsec = now % 1000000 * 1000 + time->tv_nsec % 1000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) return changed(time);
    return original(clock, time);
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int failed = changed(&now);
    if (failed != 0) return failed;
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec now;
    if (changed(&now) != 0) return (time_t)-1;
    if (result != NULL) *result = now.tv_sec;
    return now.tv_sec;
}
