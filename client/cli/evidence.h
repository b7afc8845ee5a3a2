/*
 * Directories of stopped nodes as evidence: opened, locked against a start, read and judged.
 * `tally certificate` prints what comes of it.
 */
#ifndef TALLY_CLIENT_CLI_EVIDENCE_H
#define TALLY_CLIENT_CLI_EVIDENCE_H

#include "replication/node/certificate_verdict.h"

#include <stdbool.h>

/* A peer's certificate names it by this and its node id (peer.uri_prefix). */
#define EVIDENCE_URI_PREFIX "spiffe://tallystick/node/"

struct evidence_place {
    char path[4096]; /* the data directory */
    bool files_open;
    int lock; /* descriptor, -1 = none */
};

struct evidence {
    /* ---- filled in by the owner ---- */
    const char *ca_file;    /* NULL: signatures are not looked at (to show only) */
    const char *uri_prefix; /* NULL: EVIDENCE_URI_PREFIX */
    /* ---- ours ---- */
    uint32_t count;
    struct survivor survivors[SURVIVORS_MAX];
    struct evidence_place places[SURVIVORS_MAX];
};

struct evidence_error {
    char text[768];
};

/* Adds a node's data directory, or the directory that `tally node init` made around it. A running
 * node's is refused with STATUS_LOCKED: it may still help others to commit. Others: STATUS_BUSY
 * (too many), STATUS_INVALID (the CA file), or what reading says; always with words. */
enum status evidence_add(struct evidence *evidence, const char *directory,
                         struct evidence_error *out_error);
/* Walks all journals. STATUS_OK, or the first disk error in words. */
enum status evidence_survey(struct evidence *evidence, struct evidence_error *out_error);
void evidence_close(struct evidence *evidence);

/* "2026-11-22T08:00:00Z", with a fraction or an offset like +01:00 if wanted; or nanoseconds since
 * 1970. False: neither. */
bool evidence_parse_time(const char *text, uint64_t *out_ns);

#endif
