/* Preloaded into a process, records what it does to the files of one folder, in order, and may fail it.

   GASAN_DISK_FOLDER  the folder, absolute, without a slash at its end
   GASAN_DISK_LOG     where to write the record (recorder.py reads it)
   GASAN_DISK_FAIL    "first:count:errno:kinds": the calls with these numbers fail; kinds 1 writes, 2 syncs, 3 both.
                      A write that fails for want of room writes half of its bytes first, as a full disk does.

   A record is a header and its data. Memory maps are not seen: of SQLite's files only -shm is mapped, and that is
   made anew after a cut. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS 1024
#define FOLDER 1

struct head {
    uint8_t op; /* C create, O open, W write, T truncate, S sync, F sync that failed, U unlink, R rename */
    uint8_t pad[3];
    uint32_t file; /* number of the descriptor's opening; FOLDER is the folder itself */
    uint64_t offset;
    uint64_t size; /* of the data that follows */
} __attribute__((packed));

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static const char *folder;
static int log_fd = -1;
static uint32_t file_of[FDS];
static uint32_t files = FOLDER;
static long calls, fail_first = -1, fail_count, fail_errno, fail_kinds;

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

static ssize_t plain_write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, data, size);
}

static int plain_open(const char *path, int flags, mode_t mode) {
    REAL(int, "open", const char *, int, ...);
    return real(path, flags, mode);
}

__attribute__((constructor)) void gasan_disk_start(void) {
    const char *log = getenv("GASAN_DISK_LOG"), *fail = getenv("GASAN_DISK_FAIL");
    folder = getenv("GASAN_DISK_FOLDER");
    if (!folder || !log) return;
    log_fd = fcntl(plain_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), F_DUPFD_CLOEXEC, FDS - 1);
    if (fail) sscanf(fail, "%ld:%ld:%ld:%ld", &fail_first, &fail_count, &fail_errno, &fail_kinds);
}

static void put(char op, uint32_t file, uint64_t offset, const void *data, uint64_t size) {
    struct head head = {.op = (uint8_t)op, .file = file, .offset = offset, .size = size};
    if (plain_write(log_fd, &head, sizeof head) != sizeof head || plain_write(log_fd, data, size) != (ssize_t)size)
        abort();
}

/* The name within the folder; "" for the folder itself; NULL for what is not recorded. */
static const char *inside(const char *path) {
    size_t size;
    if (log_fd < 0 || !path) return NULL;
    size = strlen(folder);
    if (strncmp(path, folder, size)) return NULL;
    if (!path[size]) return "";
    if (path[size] != '/') return NULL;
    size_t length = strlen(path);
    if (length > 4 && !strcmp(path + length - 4, "-shm")) return NULL;
    return path + size + 1;
}

static uint32_t file(int fd) { return fd >= 0 && fd < FDS ? file_of[fd] : 0; }

static int fails(int kind) {
    long call = calls++;
    if (!(fail_kinds & kind) || call < fail_first || call >= fail_first + fail_count) return 0;
    errno = (int)fail_errno;
    return 1;
}

static int opened(const char *path, int flags, mode_t mode) {
    struct stat before;
    const char *name = inside(path);
    if (!name) return plain_open(path, flags, mode);
    pthread_mutex_lock(&mutex);
    int is_new = stat(path, &before) != 0;
    int fd = plain_open(path, flags, mode);
    if (fd >= 0 && fd < FDS) {
        file_of[fd] = *name ? ++files : FOLDER;
        if (*name) put(is_new ? 'C' : 'O', files, 0, name, strlen(name));
        if (*name && !is_new && (flags & O_TRUNC)) put('T', files, 0, "", 0);
    }
    pthread_mutex_unlock(&mutex);
    return fd;
}

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = (mode_t)va_arg(rest, int);          \
        va_end(rest);                                     \
        return opened(path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    REAL(int, "close", int);
    if (fd >= 0 && fd < FDS) file_of[fd] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    uint32_t number = file(fd);
    if (!number) return plain_write(fd, data, size);
    pthread_mutex_lock(&mutex);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done;
    if (fails(1)) {
        done = -1;
    } else {
        done = plain_write(fd, data, size);
        if (fcntl(fd, F_GETFL) & O_APPEND) at = lseek(fd, 0, SEEK_CUR) - done;
        if (done > 0) put('W', number, (uint64_t)at, data, (uint64_t)done);
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

static ssize_t placed(int fd, const void *data, size_t size, off_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    uint32_t number = file(fd);
    if (!number) return real(fd, data, size, offset);
    pthread_mutex_lock(&mutex);
    ssize_t done = -1;
    if (fails(1)) {
        if (fail_errno == ENOSPC && size > 1) {
            done = real(fd, data, size / 2, offset);
            if (done > 0) put('W', number, (uint64_t)offset, data, (uint64_t)done);
        } else {
            errno = (int)fail_errno;
        }
    } else {
        done = real(fd, data, size, offset);
        if (done > 0) put('W', number, (uint64_t)offset, data, (uint64_t)done);
    }
    pthread_mutex_unlock(&mutex);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return placed(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return placed(fd, data, size, offset); }

static int cut_to(int fd, off_t size) {
    REAL(int, "ftruncate64", int, off_t);
    uint32_t number = file(fd);
    if (!number) return real(fd, size);
    pthread_mutex_lock(&mutex);
    int done = fails(1) ? -1 : real(fd, size);
    if (!done) put('T', number, (uint64_t)size, "", 0);
    pthread_mutex_unlock(&mutex);
    return done;
}

int ftruncate(int fd, off_t size) { return cut_to(fd, size); }
int ftruncate64(int fd, off_t size) { return cut_to(fd, size); }

static int synced(int fd, const char *name) {
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    uint32_t number = file(fd);
    if (!number) return real(fd);
    pthread_mutex_lock(&mutex);
    int done = fails(2) ? -1 : 0; /* not passed on: the tests' own disk need not be slow */
    put(done ? 'F' : 'S', number, 0, "", 0);
    pthread_mutex_unlock(&mutex);
    return done;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    const char *name = inside(path);
    if (!name) return real(path);
    pthread_mutex_lock(&mutex);
    int done = real(path);
    if (!done) put('U', 0, 0, name, strlen(name));
    pthread_mutex_unlock(&mutex);
    return done;
}

static int renamed(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    const char *old = inside(from), *new = inside(to);
    if (!old || !new) return real(from, to);
    char both[8192];
    int size = snprintf(both, sizeof both, "%s/%s", old, new);
    pthread_mutex_lock(&mutex);
    int done = real(from, to);
    if (!done) put('R', 0, 0, both, (uint64_t)size);
    pthread_mutex_unlock(&mutex);
    return done;
}

int rename(const char *from, const char *to) { return renamed(from, to); }
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    (void)from_fd, (void)to_fd; /* absolute paths, as all that is recorded */
    return renamed(from, to);
}
