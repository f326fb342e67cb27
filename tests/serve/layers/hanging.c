/* A volume that hangs, for LD_PRELOAD: as long as $HANG_FLAG exists, a call that touches a path below $HANG_BELOW
   sleeps $HANG_SECONDS, and $HANG_FLAG.hung is made. $HANG_CALLS: which calls, such as " open fsync "; absent: all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void hang(const char *call, const char *path) {
    const char *below = getenv("HANG_BELOW"), *flag = getenv("HANG_FLAG"), *calls = getenv("HANG_CALLS");
    if (!path || !below || !flag || strncmp(path, below, strlen(below)) != 0 || access(flag, F_OK) != 0) return;
    char word[32], hung[4096];
    snprintf(word, sizeof word, " %s ", call);
    if (calls && !strstr(calls, word)) return;
    snprintf(hung, sizeof hung, "%s.hung", flag);
    close(REAL(open)(hung, O_CREAT | O_WRONLY, 0600));
    struct timespec left = {atoi(getenv("HANG_SECONDS")), 0};
    while (nanosleep(&left, &left) != 0) {}
}

static void hang_fd(const char *call, int fd) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(name, path, sizeof path - 1);
    if (size > 0) { path[size] = 0; hang(call, path); }
}

int stat(const char *path, struct stat *into) { hang("stat", path); return REAL(stat)(path, into); }
int lstat(const char *path, struct stat *into) { hang("stat", path); return REAL(lstat)(path, into); }
int fstatat(int folder, const char *path, struct stat *into, int flags) {
    hang("stat", path); return REAL(fstatat)(folder, path, into, flags);
}
int stat64(const char *path, struct stat64 *into) { hang("stat", path); return REAL(stat64)(path, into); }
int lstat64(const char *path, struct stat64 *into) { hang("stat", path); return REAL(lstat64)(path, into); }
int fstatat64(int folder, const char *path, struct stat64 *into, int flags) {
    hang("stat", path); return REAL(fstatat64)(folder, path, into, flags);
}
static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; }
int open(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = mode_of(flags, more); va_end(more);
    hang("open", path); return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = mode_of(flags, more); va_end(more);
    hang("open", path); return REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    va_list more; va_start(more, flags); mode_t mode = mode_of(flags, more); va_end(more);
    hang("open", path); return REAL(openat)(folder, path, flags, mode);
}
ssize_t read(int fd, void *into, size_t size) { hang_fd("read", fd); return REAL(read)(fd, into, size); }
ssize_t sendfile(int to, int from, off_t *at, size_t size) { hang_fd("read", from); return REAL(sendfile)(to, from, at, size); }
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    hang_fd("read", from); return REAL(sendfile64)(to, from, at, size);
}
int fsync(int fd) { hang_fd("fsync", fd); return REAL(fsync)(fd); }
ssize_t readlink(const char *path, char *into, size_t size) {
    if (strncmp(path, "/proc/", 6) != 0) hang("stat", path);
    return REAL(readlink)(path, into, size);
}
int inotify_add_watch(int fd, const char *path, unsigned int mask) {
    hang("open", path); return ((int (*)(int, const char *, unsigned int))dlsym(RTLD_NEXT, "inotify_add_watch"))(fd, path, mask);
}
