/* Library that is preloaded into a daemon and stands between it and the calls that change files.

   It counts the calls on files within one folder, over all threads, and does something before the Nth: it
   kills the process, with the power of the disk or without, lets the call or the whole disk fail, or writes
   half. strace(1) can do much of
   that, but counts the calls of each thread by themselves. The board, a file mapped by both sides
   (`board.py`), says what to do and has the names of the calls. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALLS 4096
#define SHUTDOWN _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN */
#define PASS 0
#define FAIL 1
#define HALF 2

enum action { NOTHING, KILL, CUT, ERROR, SHORT, DIE };

struct board {
    uint32_t armed;   /* count, and act at the target */
    uint32_t action;
    uint32_t target;  /* from 1 */
    uint32_t lasting; /* act at every later call too */
    uint32_t value;   /* errno of ERROR, flags of CUT and DIE */
    uint32_t no_sync; /* report success of a synchronization without doing it */
    uint32_t count;
    uint32_t hit;     /* number of the call at which it acted last */
    char folder[256];
    char calls[CALLS][16];
};

static struct board *board;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SOCKD_CRASH_BOARD");
    int file = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        board = mapped;
    syscall(SYS_close, file);
}

/* Tell whether a file, or a path relative to a folder, is within the folder of the board. */
static int within(int file, const char *path)
{
    char link[64], found[PATH_MAX];
    size_t length = strlen(board->folder);
    if (path && path[0] == '/')
        return strncmp(path, board->folder, length) == 0;
    if (file == AT_FDCWD)
        strcpy(link, "/proc/self/cwd");
    else
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, found, sizeof found - 1);
    if (size < 0)
        return 0;
    found[size] = 0;
    return strncmp(found, board->folder, length) == 0;
}

static int gate(const char *name, int file, const char *path)
{
    int before = errno;
    if (!board || !board->armed || !within(file, path)) {
        errno = before;
        return PASS;
    }
    errno = before;
    uint32_t number = __atomic_add_fetch(&board->count, 1, __ATOMIC_SEQ_CST);
    if (number < CALLS)
        strncpy(board->calls[number], name, sizeof board->calls[0] - 1);
    if (board->action == NOTHING || number < board->target || (number > board->target && !board->lasting))
        return PASS;
    board->hit = number;
    if (board->action == CUT || board->action == DIE) {
        int folder = syscall(SYS_openat, AT_FDCWD, board->folder, O_RDONLY | O_DIRECTORY);
        syscall(SYS_ioctl, folder, SHUTDOWN, &board->value);
        syscall(SYS_close, folder);
    }
    if (board->action == CUT || board->action == KILL) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;)
            pause();
    }
    if (board->action == SHORT)
        return HALF;
    if (board->action == DIE) { /* the disk fails this call by itself, and each later one */
        errno = before;
        return PASS;
    }
    errno = board->value;
    return FAIL;
}

static int syncs(int file)
{
    return !(board && board->no_sync && within(file, NULL));
}

#define GATE(name, file, path) if (gate(name, file, path) == FAIL) return -1

/* files are made */

static int open_at(int folder, const char *path, int flags, mode_t mode)
{
    if (flags & O_CREAT)
        GATE("open", folder, path);
    return syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN_MODE(last) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, last); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { OPEN_MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN_MODE(flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { OPEN_MODE(flags) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { OPEN_MODE(flags) return open_at(folder, path, flags, mode); }

int mkdirat(int folder, const char *path, mode_t mode)
{
    GATE("mkdir", folder, path);
    return syscall(SYS_mkdirat, folder, path, mode);
}

int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

/* data is written */

ssize_t write(int file, const void *data, size_t size)
{
    int way = gate("write", file, NULL);
    if (way == FAIL)
        return -1;
    return syscall(SYS_write, file, data, way == HALF && size > 1 ? size / 2 : size);
}

ssize_t writev(int file, const struct iovec *pieces, int count)
{
    int way = gate("writev", file, NULL);
    if (way == FAIL)
        return -1;
    if (way == HALF && count > 0)
        return syscall(SYS_write, file, pieces[0].iov_base, pieces[0].iov_len > 1 ? pieces[0].iov_len / 2 : 1);
    return syscall(SYS_writev, file, pieces, count);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t at)
{
    int way = gate("pwrite", file, NULL);
    if (way == FAIL)
        return -1;
    return syscall(SYS_pwrite64, file, data, way == HALF && size > 1 ? size / 2 : size, at);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return pwrite64(file, data, size, at); }

ssize_t pwritev64v2(int file, const struct iovec *pieces, int count, off64_t at, int flags)
{
    int way = gate("pwritev", file, NULL);
    if (way == FAIL)
        return -1;
    return syscall(SYS_pwritev2, file, pieces, way == HALF && count > 1 ? count / 2 : count, at, 0, flags);
}

ssize_t pwritev2(int file, const struct iovec *pieces, int count, off_t at, int flags) { return pwritev64v2(file, pieces, count, at, flags); }
ssize_t pwritev64(int file, const struct iovec *pieces, int count, off64_t at) { return pwritev64v2(file, pieces, count, at, 0); }
ssize_t pwritev(int file, const struct iovec *pieces, int count, off_t at) { return pwritev64v2(file, pieces, count, at, 0); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    GATE("copy_file", out, NULL);
    return syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}

ssize_t splice(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags)
{
    GATE("splice", out, NULL);
    return syscall(SYS_splice, in, from, out, to, size, flags);
}

int fallocate64(int file, int mode, off64_t start, off64_t size)
{
    GATE("fallocate", file, NULL);
    return syscall(SYS_fallocate, file, mode, start, size);
}

int fallocate(int file, int mode, off_t start, off_t size) { return fallocate64(file, mode, start, size); }

int ftruncate64(int file, off64_t size)
{
    GATE("ftruncate", file, NULL);
    return syscall(SYS_ftruncate, file, size);
}

int ftruncate(int file, off_t size) { return ftruncate64(file, size); }

/* data is made durable */

int fsync(int file)
{
    GATE("fsync", file, NULL);
    return syncs(file) ? syscall(SYS_fsync, file) : 0;
}

int fdatasync(int file)
{
    GATE("fdatasync", file, NULL);
    return syncs(file) ? syscall(SYS_fdatasync, file) : 0;
}

int syncfs(int file)
{
    GATE("syncfs", file, NULL);
    return syncs(file) ? syscall(SYS_syncfs, file) : 0;
}

int sync_file_range(int file, off64_t start, off64_t size, unsigned flags)
{
    GATE("sync_range", file, NULL);
    return syncs(file) ? syscall(SYS_sync_file_range, file, start, size, flags) : 0;
}

/* names are made and removed */

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    GATE("link", to, new);
    return syscall(SYS_linkat, from, old, to, new, flags);
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    GATE("rename", to, new);
    return syscall(SYS_renameat2, from, old, to, new, flags);
}

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }
int rename(const char *old, const char *new) { return renameat2(AT_FDCWD, old, AT_FDCWD, new, 0); }

int unlinkat(int folder, const char *path, int flags)
{
    GATE("unlink", folder, path);
    return syscall(SYS_unlinkat, folder, path, flags);
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

/* permissions and times are changed */

int fchmod(int file, mode_t mode)
{
    GATE("fchmod", file, NULL);
    return syscall(SYS_fchmod, file, mode);
}

int fchown(int file, uid_t user, gid_t group)
{
    GATE("fchown", file, NULL);
    return syscall(SYS_fchown, file, user, group);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags)
{
    GATE("utimens", folder, path);
    return syscall(SYS_utimensat, folder, path, times, flags);
}

int futimens(int file, const struct timespec times[2])
{
    GATE("utimens", file, NULL);
    return syscall(SYS_utimensat, file, NULL, times, 0);
}
