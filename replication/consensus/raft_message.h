/*
 * The messages of consensus as bytes: votes, entries, read rounds. Bodies follow the header of
 * message.h; little-endian, fixed layout, every reserved byte zero. docs/formats/peer.md draws them
 * beside the other messages; the layout itself is in raft_message.c.
 *
 * Decoding is total: any bytes are either one message whose every field is in its range, or refused
 * as a whole. Entries are not copied: a reader walks over them. One text for one message: what was
 * decoded and encoded again gives the same bytes.
 *
 * Pure: no I/O, no libraft, any thread.
 */
#ifndef TALLY_REPLICATION_RAFT_MESSAGE_H
#define TALLY_REPLICATION_RAFT_MESSAGE_H

#include "core/status.h"
#include "replication/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Entries of one message: their region, headers and padding included. An entry of ENTRY_SIZE_MAX
 * fits; more than one only up to RAFT_MESSAGE_ENTRIES_SIZE. */
#define RAFT_MESSAGE_ENTRIES_SIZE  (1024u * 1024)
#define RAFT_MESSAGE_ENTRIES_COUNT 4096u
#define RAFT_MESSAGE_REGION_MAX    (1024u * 1024 + 64u)
/* Header and body of any message, entries excepted. */
#define RAFT_MESSAGE_FIXED_SIZE 48u
/* Before each entry's payload. */
#define RAFT_MESSAGE_ENTRY_HEADER_SIZE 16u

struct raft_message_entry {
    uint64_t term;
    uint16_t type; /* enum journal_entry_type */
    uint32_t size; /* of the payload; zeros fill it up to a multiple of eight */
    const uint8_t *payload;
};

/* One message, decoded or to be encoded. */
struct raft_message_view {
    enum message_type type;
    union {
        struct {
            uint64_t term, candidate_id, last_index, last_term;
            bool disrupts_leader, is_pre_vote;
        } vote;
        struct {
            uint64_t term;
            bool granted, of_pre_vote;
        } vote_result;
        struct {
            uint64_t term, previous_index, previous_term, commit;
            uint32_t count;
            uint32_t region_size;
            const uint8_t *region; /* decoding only; 8-aligned if the message was */
        } append;
        struct {
            uint64_t term, rejected, last_index; /* rejected 0: accepted */
        } append_result;
        struct {
            uint64_t term, last_index, last_term;
        } timeout_now;
        struct {
            uint64_t term, sequence;
        } probe;
        struct {
            uint64_t term, sequence;
            int64_t wall_ns;
        } probe_result;
        struct {
            uint64_t term, sequence;
        } read_index;
        struct {
            uint64_t term, sequence, index;
            bool ready; /* false: index is 0, the leader cannot answer now */
        } read_index_result;
        struct {
            uint64_t term, index; /* what a witness may forget */
            uint64_t both;        /* committed, and certainly on both sites */
        } watermark;
        struct {
            uint64_t term, index; /* acknowledged in this term */
        } lost_entries;
        struct {
            uint32_t count;       /* at most MEMBERS_MAX, by ascending node id */
            const uint8_t *bytes; /* decoding only: of floors_at() */
        } floors;
        struct {
            uint64_t last_index; /* of the sender's journal; 0: it is empty */
            /* The floor that it was told of itself, 0: none; and the term of its own entry there,
             * 0: it does not have it, or not any more. */
            uint64_t floor_index, floor_term;
        } journal_end;
    };
};

/* STATUS_INVALID: not a message of consensus, or malformed in any way. */
enum status raft_message_decode(const void *bytes, size_t size, struct raft_message_view *out);

/* Header and body without entries or floors; returns their size, a multiple of eight. The header's
 * size counts append.region_size, or floors.count floors. */
size_t raft_message_encode(const struct raft_message_view *view,
                           uint8_t out[RAFT_MESSAGE_FIXED_SIZE]);

/* What an entry takes in the region. */
static inline uint32_t raft_message_entry_size(uint32_t payload_size)
{
    return RAFT_MESSAGE_ENTRY_HEADER_SIZE + ((payload_size + 7u) & ~7u);
}

/* Walks a region that raft_message_decode() accepted: `*offset` begins at 0. False at its end. */
bool raft_message_next_entry(const struct raft_message_view *view, uint32_t *offset,
                             struct raft_message_entry *out);

#endif
