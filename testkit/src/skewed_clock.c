// Preloaded into a node: its wall clock is off by the seconds that stand in the file "offset" of $SKEWED_CLOCK, as eight bytes. Its
// other clocks are right.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_s = NULL;

__attribute__((constructor)) static void look(void) {
    char path[4096];
    const char *directory = getenv("SKEWED_CLOCK");
    if (directory == NULL) return;
    snprintf(path, sizeof path, "%s/offset", directory);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *offset_s, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) offset_s = found;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int outcome = (int)syscall(SYS_clock_gettime, clock, now);
    if (outcome == 0 && clock == CLOCK_REALTIME && offset_s != NULL) now->tv_sec += *offset_s;
    return outcome;
}
