/*
 * Changing what a node was made with. The configuration may have been edited by hand since, so it
 * is changed in two words and not written anew: the file names of certificate and key, in the very
 * form in which "tally node init" wrote them. Where they are not found the operator is told what to
 * do, and nothing is changed.
 */
#include "client/cli/node_files.h"

#include "client/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_SIZE_MAX   (64 * 1024)
#define SEGMENT_DEFAULT (64ull << 20)

static const char *const suffixes[] = {".pem", ".key"};
#define SUFFIX_COUNT (sizeof suffixes / sizeof suffixes[0])

/* ---- files ---- */

int node_directory_sync(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = EXIT_OK;
    if (descriptor < 0 || fsync(descriptor) != 0)
        code = cli_error(EXIT_LOCAL, "cannot make %s durable: %s", path, strerror(errno));
    if (descriptor >= 0)
        close(descriptor); /* nothing was written through it */
    return code;
}

/* 0 or errno. */
static int write_file(const char *path, const char *text, mode_t mode)
{
    size_t size = strlen(text);
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (descriptor < 0)
        return errno;
    errno = ENOSPC; /* what a short write means here */
    int error = write(descriptor, text, size) == (ssize_t)size ? 0 : errno;
    if (error == 0 && fsync(descriptor) != 0)
        error = errno;
    if (close(descriptor) != 0 && error == 0)
        error = errno;
    return error;
}

int node_file_replace(const char *path, const char *text, mode_t mode)
{
    char temporary[4200];
    char parent[4200];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    int error = write_file(temporary, text, mode);
    if (error == 0 && rename(temporary, path) != 0)
        error = errno;
    if (error != 0) {
        (void)unlink(temporary); /* the error that led here is told */
        return cli_error(EXIT_LOCAL, "cannot write %s: %s", path, strerror(error));
    }
    if (slash != NULL)
        *slash = '\0';
    return node_directory_sync(slash == NULL ? "." : parent[0] == '\0' ? "/" : parent);
}

static uid_t give_user; /* nftw() has no argument of ours */
static gid_t give_group;

static int give(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return lchown(path, give_user, give_group);
}

int node_directory_give(const char *path, uid_t user, gid_t group)
{
    if (geteuid() != 0)
        return EXIT_OK;
    give_user = user;
    give_group = group;
    if (nftw(path, give, 16, FTW_PHYS) != 0)
        return cli_error(EXIT_LOCAL, "cannot give %s to user %ld: %s", path, (long)user,
                         strerror(errno));
    return EXIT_OK;
}

/* Text of at most TEXT_SIZE_MAX; malloc'ed, NULL after a message. */
static char *read_text(const char *path)
{
    char *text = calloc(1, TEXT_SIZE_MAX + 1);
    FILE *file = fopen(path, "re");
    size_t size = text != NULL && file != NULL ? fread(text, 1, TEXT_SIZE_MAX, file) : 0;
    bool failed = text == NULL || file == NULL || ferror(file) || size == TEXT_SIZE_MAX;
    if (failed) {
        cli_error(EXIT_LOCAL, "cannot read %s: %s", path,
                  size == TEXT_SIZE_MAX ? "it is too large" : strerror(errno));
        free(text);
        text = NULL;
    }
    if (file != NULL)
        (void)fclose(file); /* was only read */
    return text;
}

/* ---- the configuration ---- */

uint64_t node_config_segment_bytes(const char *yaml)
{
    uint64_t bytes = SEGMENT_DEFAULT;
    char *text = read_text(yaml);
    const char *at = text != NULL ? strstr(text, "segment_bytes:") : NULL;
    if (at != NULL) {
        char *end;
        uint64_t value = strtoull(at + strlen("segment_bytes:"), &end, 10);
        end += strspn(end, " ");
        value *= strncmp(end, "KiB", 3) == 0   ? 1024
                 : strncmp(end, "MiB", 3) == 0 ? 1024 * 1024
                 : strncmp(end, "GiB", 3) == 0 ? 1024 * 1024 * 1024
                                               : 1;
        if (value != 0)
            bytes = value;
    }
    free(text);
    return bytes;
}

/* A file that the configuration names: where its name node-ID.suffix begins in the text, and its
 * whole path. */
struct named {
    size_t at, size;
    char path[4096];
};

/* Where the value begins that `at` is in: behind the quote that is open there, else behind the last
 * space of the line. NULL in a comment. */
static const char *value_begin(const char *text, const char *at)
{
    const char *begin = at;
    char quote = '\0';
    while (begin > text && begin[-1] != '\n')
        begin--;
    const char *line = begin;
    for (const char *c = line; c < at; c++) {
        if (quote == '\0' && *c == '#' && (c == line || c[-1] == ' '))
            return NULL;
        if (quote == '\0' && (*c == '"' || *c == '\''))
            quote = *c;
        else if (*c == quote)
            quote = '\0';
        else if (quote != '\0' || *c != ' ')
            continue;
        begin = c + 1;
    }
    return begin;
}

static bool find_named(const char *text, const char *yaml, uint64_t id, const char *suffix,
                       struct named *out)
{
    char name[64];
    snprintf(name, sizeof name, "node-%" PRIu64 "%s", id, suffix);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at++) {
        const char *begin = value_begin(text, at);
        bool ends = strchr("\"'\n\r ", at[strlen(name)]) != NULL; /* the text's end as well */
        bool begins = at == begin || at[-1] == '/';
        const char *slash = strrchr(yaml, '/');
        if (begin == NULL || !ends || !begins)
            continue;
        out->at = (size_t)(at - text);
        out->size = strlen(name);
        int home = *begin != '/' && slash != NULL ? (int)(slash - yaml) + 1 : 0;
        int size = snprintf(out->path, sizeof out->path, "%.*s%.*s", home, yaml,
                            (int)(at - begin) + (int)strlen(name), begin);
        return size > 0 && (size_t)size < sizeof out->path;
    }
    return false;
}

/* The path of the new number's file beside the old one's. */
static void beside(const struct named *old, uint64_t new_id, const char *suffix, char out[4200])
{
    int directory = (int)(strlen(old->path) - old->size);
    snprintf(out, 4200, "%.*snode-%" PRIu64 "%s", directory, old->path, new_id, suffix);
}

int node_config_check_certificate(const char *yaml, const char *pki, uint64_t old_id,
                                  uint64_t new_id)
{
    char *text = read_text(yaml);
    int code = text != NULL ? EXIT_OK : EXIT_LOCAL;
    for (size_t i = 0; i < SUFFIX_COUNT && code == EXIT_OK; i++) {
        struct named named;
        char there[4200];
        char source[4200];
        if (find_named(text, yaml, new_id, suffixes[i], &named))
            continue; /* an earlier run was here */
        if (!find_named(text, yaml, old_id, suffixes[i], &named)) {
            code =
                cli_error(EXIT_USAGE,
                          "%s names no file node-%" PRIu64 "%s: name certificate and key of node "
                          "%" PRIu64 " (node-%" PRIu64 "%s) in it yourself, then repeat this",
                          yaml, old_id, suffixes[i], new_id, new_id, suffixes[i]);
            break;
        }
        beside(&named, new_id, suffixes[i], there);
        snprintf(source, sizeof source, "%s/node-%" PRIu64 "%s", pki != NULL ? pki : ".", new_id,
                 suffixes[i]);
        if (access(there, R_OK) != 0 && (pki == NULL || access(source, R_OK) != 0))
            code =
                cli_error(EXIT_USAGE,
                          "there is no %s: make the new node's certificate (\"tally pki issue PKI "
                          "--role node --name %" PRIu64 "\"; its files are to be called "
                          "node-%" PRIu64 ".pem and .key), and say --pki PKI if it is elsewhere",
                          there, new_id, new_id);
    }
    free(text);
    return code;
}

/* Copies source to path with owner and mode of `like`. */
static int copy_like(const char *source, const char *path, const char *like)
{
    struct stat about;
    char *text = read_text(source);
    if (text == NULL)
        return EXIT_LOCAL;
    int code = EXIT_OK;
    if (stat(like, &about) != 0)
        code = cli_error(EXIT_LOCAL, "cannot look at %s: %s", like, strerror(errno));
    if (code == EXIT_OK)
        code = node_file_replace(path, text, about.st_mode & 07777);
    if (code == EXIT_OK && geteuid() == 0 && chown(path, about.st_uid, about.st_gid) != 0)
        code = cli_error(EXIT_LOCAL, "cannot give %s to its user: %s", path, strerror(errno));
    explicit_bzero(text, TEXT_SIZE_MAX); /* perhaps a key */
    free(text);
    return code;
}

/* `text` with the name at `named` replaced; malloc'ed. NULL without memory. */
static char *renamed(const char *text, const struct named *named, uint64_t new_id,
                     const char *suffix)
{
    char *out = NULL;
    if (asprintf(&out, "%.*snode-%" PRIu64 "%s%s", (int)named->at, text, new_id, suffix,
                 text + named->at + named->size) < 0)
        return NULL;
    return out;
}

int node_config_set_certificate(const char *yaml, const char *pki, uint64_t old_id, uint64_t new_id)
{
    struct stat about;
    bool changed = false;
    char *text = read_text(yaml);
    int code = text != NULL ? EXIT_OK : EXIT_LOCAL;
    for (size_t i = 0; i < SUFFIX_COUNT && code == EXIT_OK; i++) {
        struct named named;
        char there[4200];
        char source[4200];
        if (!find_named(text, yaml, old_id, suffixes[i], &named))
            continue; /* done already; it was checked that one of the two is there */
        beside(&named, new_id, suffixes[i], there);
        snprintf(source, sizeof source, "%s/node-%" PRIu64 "%s", pki != NULL ? pki : ".", new_id,
                 suffixes[i]);
        if (access(there, F_OK) != 0)
            code = copy_like(source, there, named.path);
        char *next = renamed(text, &named, new_id, suffixes[i]);
        free(text);
        text = next;
        changed = true;
        if (text == NULL)
            return cli_error(EXIT_LOCAL, "out of memory");
    }
    if (code == EXIT_OK && changed) {
        if (stat(yaml, &about) != 0)
            code = cli_error(EXIT_LOCAL, "cannot look at %s: %s", yaml, strerror(errno));
        else
            code = node_file_replace(yaml, text, about.st_mode & 07777);
        if (code == EXIT_OK && geteuid() == 0 && chown(yaml, about.st_uid, about.st_gid) != 0)
            code = cli_error(EXIT_LOCAL, "cannot give %s to its user: %s", yaml, strerror(errno));
    }
    free(text);
    return code;
}
