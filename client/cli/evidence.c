/*
 * Every directory is held under the lock that `tallyd` takes, shared, from the moment it is added
 * until the verdict is told: a node that was started in between could vote, and commit something
 * that no journal here shows. The lock is taken on the existing file only; nothing is written, so
 * that copies on a read-only mount serve, too (a copy has a lock of its own: who runs a node on the
 * original has not presented it).
 */
#include "client/cli/evidence.h"

#include "net/signature.h"
#include "replication/node/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

/* ---- signatures ---- */

static enum status judge_signature(void *context, const struct certificate_view *view,
                                   char *out_reason, size_t capacity)
{
    const struct evidence *evidence = context;
    uint8_t message[sizeof CERTIFICATE_SCHEME + sizeof view->record];
    char uri[URI_SIZE_MAX + 1], expected[URI_SIZE_MAX + 32];
    struct net_error error = {.text = ""};
    if (evidence->ca_file == NULL)
        return STATUS_OK;
    memcpy(message, CERTIFICATE_SCHEME, sizeof CERTIFICATE_SCHEME);
    memcpy(message + sizeof CERTIFICATE_SCHEME, &view->record, sizeof view->record);
    const struct signature_check check = {
        .ca_file = evidence->ca_file,
        .at_s = (int64_t)(view->record.wall_ns / NS_PER_S),
        .bytes = message,
        .size = sizeof message,
        .signature = view->signature,
        .signature_size = view->signature_size,
        .chain = view->chain,
        .chain_size = view->chain_size,
    };
    enum status status = signature_verify(&check, uri, &error);
    if (status != STATUS_OK) {
        snprintf(out_reason, capacity, "%s", error.text);
        return status;
    }
    /* A channel has a certificate of the same authority, and is no leader. */
    snprintf(expected, sizeof expected, "%s%" PRIu64,
             evidence->uri_prefix != NULL ? evidence->uri_prefix : EVIDENCE_URI_PREFIX,
             view->record.node_id);
    if (strcmp(uri, expected) == 0)
        return STATUS_OK;
    snprintf(out_reason, capacity, "it is signed by %.120s, and only %.120s may say this", uri,
             expected);
    return STATUS_DENIED;
}

/* ---- directories ---- */

static bool is_data_directory(const char *path)
{
    char file[4200];
    snprintf(file, sizeof file, "%s/" DIRECTORY_IDENTITY, path);
    return access(file, F_OK) == 0;
}

static enum status hold(struct evidence_place *place, struct evidence_error *error)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/" DIRECTORY_LOCK, place->path);
    place->lock = open(path, O_RDONLY | O_CLOEXEC);
    if (place->lock < 0)
        return STATUS_OK; /* a copy without it: nobody runs on that */
    if (flock(place->lock, LOCK_SH | LOCK_NB) == 0)
        return STATUS_OK;
    if (errno != EWOULDBLOCK)
        return STATUS_OK; /* a file system without locks */
    snprintf(
        error->text, sizeof error->text,
        "%.500s: a node is running here, and may still help others to commit: stop it, or look at "
        "what it holds with `tally certificate show`",
        place->path);
    return STATUS_LOCKED;
}

enum status evidence_add(struct evidence *evidence, const char *directory,
                         struct evidence_error *out_error)
{
    if (evidence->count == SURVIVORS_MAX) {
        snprintf(out_error->text, sizeof out_error->text, "more than %d directories",
                 SURVIVORS_MAX);
        return STATUS_BUSY;
    }
    struct survivor *survivor = &evidence->survivors[evidence->count];
    struct evidence_place *place = &evidence->places[evidence->count++];
    memset(survivor, 0, sizeof *survivor);
    *place = (struct evidence_place){.lock = -1};
    snprintf(place->path, sizeof place->path, "%s/data", directory);
    if (is_data_directory(directory) || !is_data_directory(place->path))
        snprintf(place->path, sizeof place->path, "%s", directory);
    survivor->path = place->path;
    enum status status = files_posix_open(place->path, &survivor->files);
    if (status != STATUS_OK) {
        snprintf(out_error->text, sizeof out_error->text, "%.500s: %s", place->path,
                 status_text(status));
        return status;
    }
    place->files_open = true;
    status = hold(place, out_error);
    if (status != STATUS_OK)
        return status;
    const struct survivor_judge judge = {.context = evidence, .signature = judge_signature};
    return survivor_read(survivor, &judge, out_error->text, sizeof out_error->text);
}

static enum status survey_one(struct survivor *survivor, struct evidence_error *error)
{
    struct generation generation;
    struct files journal;
    char name[DIRECTORY_NAME_MAX], path[DIRECTORY_PATH_MAX];
    enum status status = current_read(&survivor->files, &generation);
    if (status == STATUS_OK) {
        directory_generation_name(DIRECTORY_JOURNAL, generation.journal, name);
        status = directory_join(survivor->path, name, path);
    }
    if (status == STATUS_OK)
        status = files_posix_open(path, &journal);
    if (status != STATUS_OK) {
        snprintf(error->text, sizeof error->text, "%.500s: its journal cannot be found: %s",
                 survivor->path, status_text(status));
        return status;
    }
    status = survivor_survey(survivor, &journal);
    files_posix_close(&journal);
    if (status != STATUS_OK)
        snprintf(error->text, sizeof error->text, "%.500s: the journal cannot be read: %s", path,
                 status_text(status));
    return status;
}

enum status evidence_survey(struct evidence *evidence, struct evidence_error *out_error)
{
    struct survivor_head asked[SURVIVORS_MAX];
    uint32_t asked_count = 0;
    for (uint32_t i = 0; i < evidence->count; i++)
        if (evidence->survivors[i].certificate_state == SURVIVOR_CERTIFICATE_GOOD)
            asked[asked_count++] =
                (struct survivor_head){.index = evidence->survivors[i].certificate.index};
    for (uint32_t i = 0; i < evidence->count; i++) {
        struct survivor *survivor = &evidence->survivors[i];
        memcpy(survivor->heads, asked, asked_count * sizeof asked[0]);
        survivor->head_count = asked_count;
        enum status status = survey_one(survivor, out_error);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

void evidence_close(struct evidence *evidence)
{
    for (uint32_t i = 0; i < evidence->count; i++) {
        if (evidence->places[i].files_open)
            files_posix_close(&evidence->survivors[i].files);
        if (evidence->places[i].lock >= 0)
            (void)close(evidence->places[i].lock); /* gives the lock back */
    }
    evidence->count = 0;
}

/* ---- times ---- */

/* ".5" or "+01:00" or "Z" behind the seconds. */
static bool parse_rest(const char *at, uint64_t *ns, int64_t *offset_s)
{
    *ns = 0;
    *offset_s = 0;
    if (*at == '.') {
        uint64_t unit = NS_PER_S / 10;
        if (at[1] < '0' || at[1] > '9')
            return false;
        for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
            *ns += (uint64_t)(*at - '0') * unit;
    }
    if (strcmp(at, "Z") == 0)
        return true;
    int hours, minutes, used = 0;
    if ((*at != '+' && *at != '-') || sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 ||
        used != 5 || at[6] != '\0' || hours < 0 || hours > 14 || minutes < 0 || minutes > 59)
        return false;
    *offset_s = (*at == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* timegm() bends what no calendar has, 31 February say, into another day. Asked at noon, since a
 * leap second belongs to the next day. */
static bool day_exists(const struct tm *moment)
{
    struct tm noon = {.tm_year = moment->tm_year,
                      .tm_mon = moment->tm_mon,
                      .tm_mday = moment->tm_mday,
                      .tm_hour = 12};
    return timegm(&noon) != -1 && noon.tm_mday == moment->tm_mday;
}

bool evidence_parse_time(const char *text, uint64_t *out_ns)
{
    if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text)) {
        errno = 0;
        uint64_t value = strtoull(text, NULL, 10);
        /* Seconds or milliseconds are a mistake that would go unnoticed. */
        if (errno != 0 || value < 1000000000 * NS_PER_S || value > INT64_MAX)
            return false;
        *out_ns = value;
        return true;
    }
    struct tm broken_down = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &broken_down);
    uint64_t ns;
    int64_t offset_s;
    if (rest == NULL || !parse_rest(rest, &ns, &offset_s))
        return false;
    if (!day_exists(&broken_down))
        return false;
    int64_t seconds = (int64_t)timegm(&broken_down) - offset_s;
    if (seconds <= 0 || seconds > INT64_MAX / (int64_t)NS_PER_S - 1)
        return false;
    *out_ns = (uint64_t)seconds * NS_PER_S + ns;
    return true;
}
