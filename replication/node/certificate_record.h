/*
 * The certificate as bytes: one fixed record, a signature over it, the certificates (X.509) that
 * the signature is checked with, and a digest of all that. docs/formats/certificate.md draws it;
 * certificate.c says what a record claims and why it may.
 *
 * Decoding is total: any bytes are one certificate whose every field is in its range, or refused as
 * a whole. What was decoded and encoded again gives the same bytes.
 *
 * Pure: no I/O, any thread.
 */
#ifndef TALLY_REPLICATION_CERTIFICATE_RECORD_H
#define TALLY_REPLICATION_CERTIFICATE_RECORD_H

#include "core/status.h"
#include "replication/durability_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERTIFICATE_VERSION 2
/* RSA of 4096 bits; ECDSA takes 72 to 139. */
#define CERTIFICATE_SIGNATURE_SIZE_MAX 512
/* DER, one after the other, the signer's first: a leaf and two intermediates take 3 to 6 KiB. */
#define CERTIFICATE_CHAIN_SIZE_MAX (16 * 1024)
#define CERTIFICATE_HEAD_SIZE      32
#define CERTIFICATE_DIGEST_SIZE    32
/* Stands before the record in what is signed, its zero byte included: a signature made for anything
 * else with the same key is none here, and the other way round. */
#define CERTIFICATE_SCHEME "tally.certificate.1"

enum certificate_rule {
    CERTIFICATE_MAJORITY = 0, /* a majority of the voters, wherever they are */
    CERTIFICATE_SITE = 1,     /* under SYNC a commit implies both sites */
};

/* The layout is the format: little-endian, reserved bytes zero. */
struct certificate_record {
    uint8_t magic[8];
    uint16_t version;
    uint16_t size;  /* of the record */
    uint8_t mode;   /* DEGRADED also while a degrade entry is only appended */
    uint8_t policy; /* enum durability_decision, committed */
    uint8_t rule;   /* enum certificate_rule */
    uint8_t reserved_0;
    uint8_t cluster_id[16];
    uint64_t cluster_epoch;
    uint64_t node_id; /* the leader that made it */
    uint8_t incarnation[16];
    uint64_t term;
    uint64_t sequence;   /* of the certificates of this leader in this term, from 1 */
    uint64_t wall_ns;    /* T: the leader's clock when it asked a majority; ns since 1970 */
    uint64_t stamp;      /* ledger time when it was made */
    uint64_t index;      /* N: everything acknowledged at T is at or below it */
    uint64_t index_term; /* of entry N */
    uint8_t head[CERTIFICATE_HEAD_SIZE]; /* H: the journal's chain head at N */
    uint64_t both_index;                 /* everything up to here is on both sites; 0: unknown */
    uint64_t number;                     /* E: of the newest committed durability entry, 0: none */
    uint64_t log_number;                 /* of the newest one in the leader's log */
    uint64_t reserved_1[3];
};

_Static_assert(sizeof(struct certificate_record) == 192, "format");
_Static_assert(offsetof(struct certificate_record, cluster_id) == 16, "format");
_Static_assert(offsetof(struct certificate_record, wall_ns) == 80, "format");
_Static_assert(offsetof(struct certificate_record, head) == 112, "format");
_Static_assert(offsetof(struct certificate_record, log_number) == 160, "format");

#define CERTIFICATE_FIXED_SIZE (sizeof(struct certificate_record) + 8 + CERTIFICATE_DIGEST_SIZE)
#define CERTIFICATE_SIZE_MAX                                                                       \
    (CERTIFICATE_FIXED_SIZE + CERTIFICATE_SIGNATURE_SIZE_MAX + CERTIFICATE_CHAIN_SIZE_MAX)

/* Pointers into the bytes it was decoded from. */
struct certificate_view {
    struct certificate_record record;
    const uint8_t *signature;
    uint32_t signature_size; /* 0: it is not signed */
    const uint8_t *chain;
    uint32_t chain_size;
};

/* Fills magic, version and size of a record. */
void certificate_record_begin(struct certificate_record *out);

/* Into out_bytes; returns the size, a multiple of 8. Invariant: sizes within their bounds. */
size_t certificate_encode(const struct certificate_view *view,
                          uint8_t out_bytes[CERTIFICATE_SIZE_MAX]);
/* STATUS_OK; STATUS_VERSION: of another version; STATUS_INVALID: no certificate, or one that has
 * changed since it was made. `bytes` need no alignment. */
enum status certificate_decode(const void *bytes, size_t size, struct certificate_view *out);

/* Whether `a` was made after `b`: by epoch, term and sequence. */
bool certificate_is_newer(const struct certificate_record *a, const struct certificate_record *b);

const char *certificate_rule_name(uint8_t rule); /* "site" */

#endif
