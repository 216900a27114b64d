// Preloaded into a node: its disk stands still while the file "stall" exists in $FAULTY_DISK, takes 50 ms more for each
// sync while "slow" exists, fails one sync after "fail" was created, and while "snapshots" exists each of a snapshot's file.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_ordered(const char *order, int once) {
    char path[4096];
    const char *directory = getenv("FAULTY_DISK");
    if (directory == NULL) return 0;
    snprintf(path, sizeof path, "%s/%s", directory, order);
    return once ? unlink(path) == 0 : access(path, F_OK) == 0;
}

static int is_of_snapshot(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name != NULL && strncmp(name, "/snapshot-", 10) == 0;
}

static int synced(long call, int file) {
    while (is_ordered("stall", 0)) usleep(10000);
    if (is_ordered("slow", 0)) usleep(50000);
    if (is_ordered("fail", 1) || (is_ordered("snapshots", 0) && is_of_snapshot(file))) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(call, file);
}

int fdatasync(int file) { return synced(SYS_fdatasync, file); }
int fsync(int file) { return synced(SYS_fsync, file); }
