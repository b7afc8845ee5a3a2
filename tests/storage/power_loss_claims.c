/*
 * power_loss_claims LIBPOWERLOSS POWERLOSS_APPLY: what the simulated power loss takes and what it
 * leaves, claim by claim. Each claim acts in a child under the shim, which is killed; the loss is
 * applied with a seed that loses everything it may; then the files are looked at.
 *
 * The last line is "N passed, N failed".
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u

static char base[64], data[96], log_path[96];

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "power_loss_claims: %s: %s\n", what, detail);
    exit(2);
}

static int opened(const char *name, int flags)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", data, name);
    int fd = open(path, flags, 0600);
    if (fd < 0)
        die(path, strerror(errno));
    return fd;
}

/* `count` pages of a letter from page `first` on. */
static void put(int fd, unsigned first, unsigned count, char letter)
{
    char page[PAGE];
    memset(page, letter, sizeof page);
    for (unsigned i = 0; i < count; i++)
        if (pwrite(fd, page, sizeof page, (off_t)(first + i) * PAGE) != (ssize_t)sizeof page)
            die("pwrite", strerror(errno));
}

static void sync_directory(void)
{
    int fd = open(data, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd) != 0)
        die("fsync", strerror(errno));
}

static void must(int result)
{
    if (result != 0)
        die("call", strerror(errno));
}

/* The letters of a file's pages, "-" when there is no such file, "?" for a mixed page. */
static const char *letters(const char *name)
{
    static char text[64];
    char path[160], page[PAGE];
    snprintf(path, sizeof path, "%s/%s", data, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return "-";
    size_t count = 0;
    ssize_t n;
    while ((n = read(fd, page, sizeof page)) == (ssize_t)sizeof page && count + 1 < sizeof text) {
        bool pure = true;
        for (unsigned i = 1; i < PAGE; i++)
            pure = pure && page[i] == page[0];
        text[count++] = !pure ? '?' : page[0] == 0 ? '0' : page[0];
    }
    (void)close(fd);
    text[count] = '\0';
    return text;
}

/* ---- claims: before each, "file" holds AAAA and "other" BB, durable ---- */

static void overwrite(void)
{
    put(opened("file", O_RDWR), 1, 2, 'X');
}
static void overwrite_and_sync(void)
{
    int fd = opened("file", O_RDWR);
    put(fd, 1, 2, 'X');
    must(fdatasync(fd));
}
static void overwrite_sync_overwrite(void)
{
    int fd = opened("file", O_RDWR);
    put(fd, 1, 2, 'X');
    must(fsync(fd));
    put(fd, 2, 2, 'Y');
}
static void overwrite_through_dsync(void)
{
    int plain = opened("file", O_RDWR);
    put(plain, 0, 1, 'Y');
    put(opened("file", O_RDWR | O_DSYNC), 1, 1, 'X');
}
static void overwrite_after_dsync(void)
{
    put(opened("file", O_RDWR | O_DSYNC), 1, 1, 'X');
    put(opened("file", O_RDWR), 1, 1, 'Y');
}
static void append(void)
{
    put(opened("file", O_RDWR), 4, 3, 'X');
}
static void append_with_write(void)
{
    char page[PAGE];
    memset(page, 'X', sizeof page);
    int fd = opened("file", O_WRONLY | O_APPEND);
    if (write(fd, page, sizeof page) != (ssize_t)sizeof page)
        die("write", strerror(errno));
    must(fsync(fd));
    if (write(fd, page, sizeof page) != (ssize_t)sizeof page)
        die("write", strerror(errno));
}
static void cut(void)
{
    must(ftruncate(opened("file", O_RDWR), PAGE));
}
static void cut_by_open(void)
{
    (void)opened("file", O_RDWR | O_TRUNC);
}
static void rename_over(void)
{
    char a[160], b[160];
    snprintf(a, sizeof a, "%s/other", data);
    snprintf(b, sizeof b, "%s/file", data);
    must(rename(a, b));
}
static void rename_over_and_sync(void)
{
    rename_over();
    sync_directory();
}
static void remove_file(void)
{
    char a[160];
    snprintf(a, sizeof a, "%s/file", data);
    must(unlink(a));
}
static void remove_file_and_sync(void)
{
    remove_file();
    sync_directory();
}
static void create_and_sync_contents_only(void)
{
    int fd = opened("file2", O_RDWR | O_CREAT | O_EXCL);
    put(fd, 0, 1, 'N');
    must(fsync(fd));
}
static void create_and_sync_all(void)
{
    create_and_sync_contents_only();
    sync_directory();
}
static void create_and_sync_the_name_only(void)
{
    put(opened("file2", O_RDWR | O_CREAT | O_EXCL), 0, 1, 'N');
    sync_directory();
}

static const struct claim {
    const char *text;
    void (*act)(void);
    bool no_sync;
    const char *file, *other, *file2;
} claims[] = {
    {"an unsynced write is lost", overwrite, false, "AAAA", "BB", "-"},
    {"a synced write stays", overwrite_and_sync, false, "AXXA", "BB", "-"},
    {"a write after the sync is lost to what was synced", overwrite_sync_overwrite, false, "AXXA",
     "BB", "-"},
    {"O_DSYNC keeps its own write only", overwrite_through_dsync, false, "AXAA", "BB", "-"},
    {"a plain write over an O_DSYNC one is lost", overwrite_after_dsync, false, "AXAA", "BB", "-"},
    {"unsynced growth is lost", append, false, "AAAA", "BB", "-"},
    {"synced growth stays, later growth is lost", append_with_write, false, "AAAAX", "BB", "-"},
    {"an unsynced cut comes back", cut, false, "AAAA", "BB", "-"},
    {"O_TRUNC is a cut", cut_by_open, false, "AAAA", "BB", "-"},
    {"an unsynced rename is undone, its target back", rename_over, false, "AAAA", "BB", "-"},
    {"a synced rename stays", rename_over_and_sync, false, "BB", "-", "-"},
    {"an unsynced removal is undone", remove_file, false, "AAAA", "BB", "-"},
    {"a synced removal stays", remove_file_and_sync, false, "-", "BB", "-"},
    {"a created name needs its directory's sync", create_and_sync_contents_only, false, "AAAA",
     "BB", "-"},
    {"name and contents synced stay", create_and_sync_all, false, "AAAA", "BB", "N"},
    {"a synced name has no contents yet", create_and_sync_the_name_only, false, "AAAA", "BB", ""},
    {"without syncs a synced write is lost", overwrite_and_sync, true, "AAAA", "BB", "-"},
    {"without syncs O_DSYNC is lost", overwrite_through_dsync, true, "AAAA", "BB", "-"},
    {"without syncs a synced rename is undone", rename_over_and_sync, true, "AAAA", "BB", "-"},
};

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)info;
    (void)type;
    (void)position;
    return remove(path);
}

static void make_place(void)
{
    snprintf(base, sizeof base, "/tmp/tally-claims-XXXXXX");
    if (mkdtemp(base) == NULL)
        die("mkdtemp", strerror(errno));
    snprintf(data, sizeof data, "%s/data", base);
    snprintf(log_path, sizeof log_path, "%s/log", base);
    must(mkdir(data, 0700));
    must(mkdir(log_path, 0700));
    int fd = opened("file", O_RDWR | O_CREAT);
    put(fd, 0, 4, 'A');
    must(close(fd));
    fd = opened("other", O_RDWR | O_CREAT);
    put(fd, 0, 2, 'B');
    must(close(fd));
}

static bool apply(char *tool, const char *seed)
{
    int status;
    char seed_text[16];
    snprintf(seed_text, sizeof seed_text, "%s", seed);
    pid_t pid = fork();
    if (pid == 0) {
        char *arguments[] = {tool, log_path, data, seed_text, NULL};
        execv(tool, arguments);
        _exit(127);
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool judge(const struct claim *claim)
{
    bool file = strcmp(letters("file"), claim->file) == 0;
    bool other = strcmp(letters("other"), claim->other) == 0;
    bool file2 = strcmp(letters("file2"), claim->file2) == 0;
    if (!file || !other || !file2)
        printf("FAILED %s: file %s", claim->text, letters("file"));
    if (!file || !other || !file2)
        printf(", other %s", letters("other"));
    if (!file || !other || !file2)
        printf(", file2 %s\n", letters("file2"));
    return file && other && file2;
}

/* Of the tool's seeds this one loses all it may, and tears no page. */
#define SEED_THAT_LOSES_ALL "ALL"

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    if (argc == 4 && strcmp(argv[1], "act") == 0) {
        snprintf(data, sizeof data, "%s", argv[2]);
        claims[strtoul(argv[3], NULL, 10)].act();
        (void)kill(getpid(), SIGKILL);
    }
    if (argc != 3)
        die("usage", "power_loss_claims LIBPOWERLOSS POWERLOSS_APPLY");
    for (unsigned i = 0; i < sizeof claims / sizeof claims[0]; i++) {
        char number[16], word[] = "act";
        int status;
        make_place();
        snprintf(number, sizeof number, "%u", i);
        (void)fflush(stdout); /* or the child would print it again */
        pid_t pid = fork();
        if (pid == 0) {
            setenv("LD_PRELOAD", argv[1], 1);
            setenv("TALLY_POWERLOSS_DIR", data, 1);
            setenv("TALLY_POWERLOSS_LOG", log_path, 1);
            if (claims[i].no_sync)
                setenv("TALLY_POWERLOSS_NO_SYNC", "1", 1);
            char *arguments[] = {argv[0], word, data, number, NULL};
            execv(argv[0], arguments);
            _exit(127);
        }
        bool killed = waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
        bool ok = killed && apply(argv[2], SEED_THAT_LOSES_ALL) && judge(&claims[i]);
        passed += ok;
        failed += !ok;
        if (!killed)
            printf("FAILED %s: the child was not killed\n", claims[i].text);
        if (nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
            die("cannot remove", base);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
