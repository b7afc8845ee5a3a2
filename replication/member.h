/*
 * A member of the cluster, and the table of them. The table is raft's configuration itself: each
 * member's record is what libraft calls a server's address, so it is replicated, committed, put
 * into snapshots and rolled back together with the vote it belongs to.
 *
 * Record: "SITE KIND INCARNATION ADDRESS", single spaces, printable ASCII, e.g.
 *     "A data 0123456789abcdef0123456789abcdef a1.bank.example:7001"
 * One text for one member: a reader accepts only what printing the parsed record gives again.
 *
 * Pure: no I/O, any thread.
 */
#ifndef TALLY_REPLICATION_MEMBER_H
#define TALLY_REPLICATION_MEMBER_H

#include "core/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMBERS_MAX             9 /* voters and spares; the configuration must fit the journal's anchor */
#define MEMBER_SITE_SIZE_MAX    16  /* bytes: letters, digits, '-', '_' */
#define MEMBER_ADDRESS_SIZE_MAX 128 /* "host:port", "[v6]:port" */
#define MEMBER_TEXT_SIZE        200 /* a record with its zero byte fits */

enum member_kind { MEMBER_DATA, MEMBER_WITNESS };

struct member {
    uint64_t node_id; /* 1 .. 2^63 - 1; never used again after a removal */
    enum member_kind kind;
    uint8_t incarnation[16];
    char site[MEMBER_SITE_SIZE_MAX + 1];
    char address[MEMBER_ADDRESS_SIZE_MAX + 1]; /* for its peers */
};

/* 1 .. MEMBER_SITE_SIZE_MAX letters, digits, '-', '_'. Reads at most one byte more. */
bool member_site_is_valid(const char *site);

/* STATUS_INVALID: a field is empty, too long or holds a character outside of its alphabet. */
enum status member_print(const struct member *member, char out_text[MEMBER_TEXT_SIZE]);
/* The inverse; the id comes from beside the text. STATUS_INVALID. */
enum status member_parse(uint64_t node_id, const char *text, struct member *out);

/* A table that is being judged. */
struct member_table {
    uint32_t count;
    struct member members[MEMBERS_MAX];
    bool votes[MEMBERS_MAX];
};

/* A table as the payload of an entry that changes the configuration, and as the journal's anchors
 * and the store keep it: libraft's own encoding, with the padding zeroed. Such a payload is what
 * founds a cluster. */
#define MEMBER_TABLE_BYTES_MAX 1792

/* Into out_bytes; a member without a vote becomes a spare. The size is a multiple of 8. Returns it,
 * or 0: a member cannot be printed, or the table is empty. */
size_t member_table_encode(const struct member_table *table,
                           uint8_t out_bytes[MEMBER_TABLE_BYTES_MAX]);
/* Any bytes. STATUS_INVALID: not such an encoding, more than MEMBERS_MAX, a text that
 * member_parse() refuses, an id twice. */
enum status member_table_decode(const void *bytes, size_t size, struct member_table *out);

/* [safety] The data nodes of one site must not be a majority of the voters: losing the other site
 * would be no loss to them, and losing them the end. Exception: a table whose voters are all data
 * nodes of one site (development; one node alone). False: `out_site` is the site. */
bool member_table_is_allowed(const struct member_table *table,
                             char out_site[MEMBER_SITE_SIZE_MAX + 1]);

/* At how many sites data nodes vote. */
uint32_t member_table_data_sites(const struct member_table *table);

/* Whether the voters outside of `site` that are up (bit i of `up` for members[i]) are a majority of
 * all voters: what survives_loss{site=} shows. */
bool member_table_survives_loss(const struct member_table *table, uint32_t up, const char *site);

#endif
