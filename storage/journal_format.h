/*
 * The journal's bytes: segment header, record header, checksums, chain. docs/formats/journal.md
 * draws them and argues why; this header is for storage/journal*.c and their tests.
 *
 * Everything is little-endian. Records begin at multiples of 64 bytes, so a record header never
 * straddles a 512-byte sector: after a power loss it is there whole or it is not there at all.
 */
#ifndef TALLY_STORAGE_JOURNAL_FORMAT_H
#define TALLY_STORAGE_JOURNAL_FORMAT_H

#include "storage/hash.h"
#include "storage/journal.h"

#define JOURNAL_FORMAT_VERSION   2
#define JOURNAL_PAGE_SIZE        4096u
#define JOURNAL_RECORD_ALIGN     64u
#define JOURNAL_SEGMENT_SIZE_MIN (64ull * 1024)
#define JOURNAL_SEGMENT_SIZE_MAX (1024ull * 1024 * 1024)
#define JOURNAL_KEY_SIZE         192
#define JOURNAL_NAME_SIZE        32
#define JOURNAL_SPARE_TEMPORARY  "spare.tmp"
#define JOURNAL_CREATE_TEMPORARY "create.tmp"

/* The journal's own records, beside enum journal_entry_type. Each is one sector-atomic header,
 * except the truncation mark, whose body carries the chain head. */
enum journal_record_type {
    JOURNAL_SEAL = 0x100,  /* puts everything before it under synced_to */
    JOURNAL_STOP = 0x101,  /* clean stop: only zeros, JOURNAL_START or JOURNAL_CLOSE may follow */
    JOURNAL_START = 0x102, /* first record after a stop, synced alone before anything follows */
    JOURNAL_TRUNCATE = 0x103, /* entries above `index` are discarded */
    JOURNAL_CLOSE = 0x104,    /* index = number of the next segment, term = its size in bytes */
};

struct journal_segment_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t header_size;
    uint8_t checksum[16]; /* XXH3-128 over the page with this field zero */
    uint8_t cluster_id[16];
    uint8_t generation[16]; /* random: key of all record checksums of this segment */
    uint8_t previous_generation[16];
    uint64_t number;
    uint64_t size; /* of the file */
    uint64_t first_sequence;
    uint64_t anchor_index; /* the entry before this segment: index, term, chain head */
    uint64_t anchor_term;
    uint8_t anchor_head[JOURNAL_HASH_SIZE];
    uint32_t configuration_size;
    uint32_t reserved_0;
    uint8_t reserved_1[1376];
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
};

struct journal_record_header {
    uint64_t checksum; /* keyed XXH3-64 over the other 56 bytes */
    uint64_t sequence;
    uint64_t synced_to; /* highest sequence known durable when this was written */
    uint64_t index;
    uint64_t term;
    uint32_t length; /* of the payload */
    uint16_t type;
    uint16_t reserved;
    uint8_t body_checksum[16]; /* keyed XXH3-128 over the body */
};

_Static_assert(sizeof(struct journal_segment_header) == JOURNAL_PAGE_SIZE, "format");
_Static_assert(offsetof(struct journal_segment_header, checksum) == 16, "format");
_Static_assert(offsetof(struct journal_segment_header, number) == 80, "format");
_Static_assert(offsetof(struct journal_segment_header, configuration) == 1536, "format");
_Static_assert(sizeof(struct journal_record_header) == JOURNAL_RECORD_ALIGN, "format");
_Static_assert(offsetof(struct journal_record_header, length) == 40, "format");
_Static_assert(offsetof(struct journal_record_header, body_checksum) == 48, "format");

/* Secret of the record checksums, drawn from a segment's generation. */
struct journal_key {
    uint8_t secret[JOURNAL_KEY_SIZE];
};
void journal_key_derive(const uint8_t generation[16], struct journal_key *out);

/* "00000000000000000001.seg" */
void journal_segment_name(uint64_t number, char out[JOURNAL_NAME_SIZE]);
bool journal_segment_name_parse(const char *name, uint64_t *out_number);

/* Fills magic, version, sizes and checksum. */
void journal_segment_header_seal(struct journal_segment_header *header);
/* STATUS_OK, STATUS_CORRUPT, or STATUS_VERSION for a sound header of a later format. */
enum status journal_segment_header_check(const struct journal_segment_header *header);

bool journal_record_is_entry(uint16_t type);
/* Bytes after the header: payload, zeros, chain head; multiple of 64; 0 for bare marks. */
uint64_t journal_record_body_size(uint16_t type, uint32_t length);
/* Header and body. */
uint64_t journal_record_size(uint16_t type, uint32_t length);

/* Writes a record to `out` (journal_record_size bytes). `header` comes with sequence, synced_to,
 * index, term, length and type; payload has `length` bytes; `head` is the chain hash that the body
 * ends with (ignored for bare marks). */
void journal_record_encode(const struct journal_key *key,
                           const struct journal_record_header *header, const void *payload,
                           const uint8_t head[JOURNAL_HASH_SIZE], uint8_t *out);
bool journal_record_header_valid(const struct journal_key *key,
                                 const struct journal_record_header *header);
bool journal_record_body_valid(const struct journal_key *key,
                               const struct journal_record_header *header, const uint8_t *body);

/* out = SHA-256(previous, index u64, term u64, type u64, payload). `out` may be `previous`. */
void journal_chain(struct hash_stream *hash, const uint8_t previous[JOURNAL_HASH_SIZE],
                   const struct journal_entry *entry, uint8_t out[JOURNAL_HASH_SIZE]);

/* True when all `size` bytes are zero. */
bool journal_is_zero(const uint8_t *bytes, size_t size);

#endif
