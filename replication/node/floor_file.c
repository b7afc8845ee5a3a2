/*
 * The file of floors. It is one small record, replaced by a rename at most once a second, by the
 * job that replaces the certificate, too.
 *
 * It may be old, lost or damaged: an older floor is as true as a newer one and says less, and none
 * says nothing. So no error with it stops the node; it is told once, and tried again. What it must
 * not be is wrong, since a member is stopped by it: hence the digest, the cluster and its epoch in
 * the record. A floor in here that is above the own journal's end is found at the start
 * (consensus_floors.c): somebody put the journal alone back, or the disk forgot it.
 */
#include "replication/node/floor_file.h"

#include "storage/hash.h"

#include <stddef.h>
#include <string.h>

#define NS_PER_MS 1000000ull
#define MAGIC     "TLYFLOR1"

_Static_assert(sizeof(((struct floor_record *)0)->digest) == HASH_SIZE, "format");

enum floor_job { JOB_RESTS, JOB_WANTED, JOB_WRITTEN };

static uint64_t now_ns(const struct floor_file *file)
{
    return file->environment->monotonic_ns(file->environment->context);
}

static void digest_of(const struct floor_record *record, uint8_t out[HASH_SIZE])
{
    const struct hash_part part = {.bytes = record, .size = offsetof(struct floor_record, digest)};
    hash_parts(&part, 1, out);
}

/* ---- reading ---- */

static bool is_sound(const struct floor_file *file, const struct floor_record *record)
{
    uint8_t digest[HASH_SIZE];
    digest_of(record, digest);
    return memcmp(digest, record->digest, sizeof digest) == 0 &&
           memcmp(record->magic, MAGIC, sizeof record->magic) == 0 &&
           memcmp(record->cluster_id, file->identity->cluster_id, sizeof record->cluster_id) == 0 &&
           record->cluster_epoch == file->identity->cluster_epoch && record->count <= MEMBERS_MAX &&
           floors_are_sound(record->floors, (uint32_t)record->count);
}

void floor_file_load(struct floor_file *file)
{
    const struct files *files = file->files;
    struct file *opened = NULL;
    struct floor_record record;
    uint64_t size = 0;
    enum status status = files->open(files->context, FLOOR_FILE, FILE_READ, &opened);
    if (status == STATUS_NOT_FOUND)
        return;
    if (status == STATUS_OK)
        status = files->size(files->context, opened, &size);
    if (status == STATUS_OK && size != sizeof record)
        status = STATUS_CORRUPT;
    if (status == STATUS_OK)
        status = files->read(files->context, opened, &record, sizeof record, 0);
    if (opened != NULL)
        files->close(files->context, opened);
    if (status == STATUS_OK && !is_sound(file, &record))
        status = STATUS_CORRUPT;
    if (status != STATUS_OK) {
        notify_event(file->notify, "floors_unreadable",
                     "the file floors in the data directory is none of this cluster; it is written "
                     "anew as soon as a leader tells what each member has",
                     status, size);
        return;
    }
    file->floors.count = (uint32_t)record.count;
    memcpy(file->floors.floors, record.floors, (size_t)record.count * sizeof record.floors[0]);
    file->given_changes = file->floors.changes;
}

/* ---- writing ---- */

static void give_to_job(struct floor_file *file, uint64_t now)
{
    struct floor_record *record = &file->job_record;
    memset(record, 0, sizeof *record);
    memcpy(record->magic, MAGIC, sizeof record->magic);
    memcpy(record->cluster_id, file->identity->cluster_id, sizeof record->cluster_id);
    record->cluster_epoch = file->identity->cluster_epoch;
    record->count = file->floors.count;
    memcpy(record->floors, file->floors.floors, file->floors.count * sizeof record->floors[0]);
    digest_of(record, record->digest);
    file->given_changes = file->floors.changes;
    file->given_ns = now;
    atomic_store(&file->job, JOB_WANTED);
    file->wake_job(file->wake_context);
}

static void take_from_job(struct floor_file *file)
{
    if (atomic_load(&file->job) != JOB_WRITTEN)
        return;
    atomic_store(&file->job, JOB_RESTS);
    const bool failed = file->job_status != STATUS_OK;
    if (failed && !file->failed_told)
        notify_event(file->notify, "floors_unwritten",
                     "the file floors could not be replaced: after a restart this node knows less "
                     "of what the members had; look at the disk",
                     file->job_status, file->floors.count);
    file->failed_told = failed;
    if (failed)
        file->given_changes = file->floors.changes - 1; /* again, when it is time */
}

static bool is_due(const struct floor_file *file)
{
    return file->given_changes != file->floors.changes && atomic_load(&file->job) == JOB_RESTS;
}

void floor_file_process(struct floor_file *file)
{
    take_from_job(file);
    if (!is_due(file))
        return;
    const uint64_t now = now_ns(file);
    if (file->given_ns == 0 || now - file->given_ns >= FLOOR_FILE_MS * NS_PER_MS)
        give_to_job(file, now);
}

uint64_t floor_file_next_ns(const struct floor_file *file)
{
    return is_due(file) ? file->given_ns + FLOOR_FILE_MS * NS_PER_MS : UINT64_MAX;
}

void floor_file_stop(struct floor_file *file)
{
    take_from_job(file);
    if (is_due(file))
        give_to_job(file, now_ns(file));
}

void floor_file_job_step(struct floor_file *file)
{
    if (atomic_load(&file->job) != JOB_WANTED)
        return;
    file->job_status =
        files_replace(file->files, FLOOR_FILE, &file->job_record, sizeof file->job_record);
    atomic_store(&file->job, JOB_WRITTEN);
}
