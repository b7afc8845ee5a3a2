/*
 * What this node knows of the floors of the members (consensus/floors.h), over a restart: in memory
 * for consensus, and in file `floors` of the data directory.
 *
 * All on the loop thread, except floor_file_job_step().
 */
#ifndef TALLY_REPLICATION_FLOOR_FILE_H
#define TALLY_REPLICATION_FLOOR_FILE_H

#include "replication/consensus/floors.h"
#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/notify.h"

#include <stdatomic.h>

#define FLOOR_FILE "floors"
/* Replaced at most this often. */
#define FLOOR_FILE_MS 1000

/* The layout is the format (docs/formats/directory.md). */
struct floor_record {
    uint8_t magic[8];
    uint8_t cluster_id[16];
    uint64_t cluster_epoch;
    uint64_t count;
    struct floor floors[MEMBERS_MAX]; /* zeros behind the last */
    uint8_t digest[32];               /* SHA-256 of all before */
};

_Static_assert(sizeof(struct floor_record) == 40 + MEMBERS_MAX * 40 + 32, "format");

struct floor_file {
    const struct environment *environment;
    const struct notify *notify;
    const struct files *files; /* of the data directory */
    const struct identity *identity;
    void *wake_context;
    void (*wake_job)(void *context);
    /* ---- ours; the floors are consensus' to raise ---- */
    struct floors floors;
    uint64_t given_changes; /* of the floors that the job was given last */
    uint64_t given_ns;      /* when; 0 = never */
    bool failed_told;
    /* Loop thread the job while it is wanted. */
    _Atomic int job;
    enum status job_status;
    struct floor_record job_record;
};

/* Fields above the line are set. Takes what the file holds; absence means that nothing is known,
 * damage likewise, and is told as an event. */
void floor_file_load(struct floor_file *file);
/* Part of a turn: what rose is given to the job. */
void floor_file_process(struct floor_file *file);
/* When that has something to do by itself; monotonic, UINT64_MAX = never. */
uint64_t floor_file_next_ns(const struct floor_file *file);
/* The end: what is not in the file yet is given to the job. */
void floor_file_stop(struct floor_file *file);
/* The job's thread. */
void floor_file_job_step(struct floor_file *file);

#endif
