/*
 * Layouts, behind the header of message.h (type u16, reserved u16, size u32):
 *
 *   REQUEST_VOTE           8 term  16 candidate  24 last_index  32 last_term
 *                          40 disrupts_leader u8  41 is_pre_vote u8  42 zero[6]         = 48
 *   REQUEST_VOTE_RESULT    8 term  16 granted u8  17 of_pre_vote u8  18 zero[6]         = 24
 *   APPEND_ENTRIES         8 term  16 previous_index  24 previous_term  32 commit
 *                          40 count u32  44 region_size u32  48 region                  = 48 +
 * region APPEND_ENTRIES_RESULT  8 term  16 rejected  24 last_index                           = 32
 *   TIMEOUT_NOW            8 term  16 last_index  24 last_term                          = 32
 *   PROBE                  8 term  16 sequence                                          = 24
 *   PROBE_RESULT           8 term  16 sequence  24 wall_ns i64                          = 32
 *   READ_INDEX             8 term  16 sequence                                          = 24
 *   READ_INDEX_RESULT      8 term  16 sequence  24 index  32 ready u8  33 zero[7]       = 40
 *   WATERMARK              8 term  16 index  24 both                                    = 32
 *   LOST_ENTRIES           8 term  16 index, not 0                                      = 24
 *   FLOORS                 8 count u32  12 zero[4]  16 floors (floors.h), 40 bytes each  = 16 +
 * them JOURNAL_END            8 last_index  16 floor_index  24 floor_term                  = 32
 *
 *   entry in a region      0 term  8 type u16  10 zero u16  12 size u32  16 payload, zeros to 8
 *
 * An entry's second eight bytes and payload are, byte for byte, the buffer that libraft keeps of a
 * command (raft_io.h), so that neither side has to build it anew.
 *
 * What is refused here: another size than the layout's, bits where zeros belong, terms of zero or
 * against the order of a log, a configuration that is none. So a peer that speaks garbage behind a
 * good certificate is a peer whose messages get lost, which consensus is made for.
 */
#include "replication/consensus/raft_message.h"

#include "core/bounds.h"
#include "replication/consensus/floors.h"
#include "replication/member.h"
#include "storage/journal_format.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields are copied as they are");
_Static_assert(RAFT_MESSAGE_REGION_MAX >= ENTRY_SIZE_MAX + RAFT_MESSAGE_ENTRY_HEADER_SIZE,
               "the largest entry fits");

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t get_u32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint16_t get_u16(const uint8_t *bytes)
{
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static void put_u64(uint8_t *bytes, uint64_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static void put_u32(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof value);
}

static bool are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

/* ---- entries ---- */

static void entry_at(const uint8_t *bytes, struct raft_message_entry *out)
{
    *out = (struct raft_message_entry){
        .term = get_u64(bytes),
        .type = get_u16(bytes + 8),
        .size = get_u32(bytes + 12),
        .payload = bytes + RAFT_MESSAGE_ENTRY_HEADER_SIZE,
    };
}

static bool payload_is_sound(const struct raft_message_entry *entry)
{
    struct member_table table;
    switch (entry->type) {
    case JOURNAL_BARRIER:
        return entry->size == 0;
    case JOURNAL_CONFIGURATION:
        return entry->size % 8 == 0 &&
               member_table_decode(entry->payload, entry->size, &table) == STATUS_OK;
    default:
        return true;
    }
}

/* One entry at the begin of `left` bytes; returns what it takes, 0 when it is none. */
static uint32_t check_entry(const uint8_t *bytes, uint32_t left, uint64_t previous_term,
                            uint64_t leader_term, uint64_t *out_term)
{
    if (left < RAFT_MESSAGE_ENTRY_HEADER_SIZE)
        return 0;
    struct raft_message_entry entry;
    entry_at(bytes, &entry);
    if (get_u16(bytes + 10) != 0 || entry.size > ENTRY_SIZE_MAX ||
        !journal_record_is_entry(entry.type))
        return 0;
    uint32_t whole = raft_message_entry_size(entry.size);
    if (whole > left || entry.term == 0 || entry.term < previous_term || entry.term > leader_term)
        return 0;
    uint32_t used = RAFT_MESSAGE_ENTRY_HEADER_SIZE + entry.size;
    if (!are_zero(bytes + used, whole - used) || !payload_is_sound(&entry))
        return 0;
    *out_term = entry.term;
    return whole;
}

static enum status check_entries(const struct raft_message_view *view)
{
    if (view->append.count > RAFT_MESSAGE_ENTRIES_COUNT ||
        view->append.region_size > RAFT_MESSAGE_REGION_MAX)
        return STATUS_INVALID;
    uint32_t offset = 0;
    uint64_t term = view->append.previous_term;
    for (uint32_t i = 0; i < view->append.count; i++) {
        uint32_t size = check_entry(view->append.region + offset, view->append.region_size - offset,
                                    term, view->append.term, &term);
        if (size == 0)
            return STATUS_INVALID;
        offset += size;
    }
    return offset == view->append.region_size ? STATUS_OK : STATUS_INVALID;
}

bool raft_message_next_entry(const struct raft_message_view *view, uint32_t *offset,
                             struct raft_message_entry *out)
{
    if (*offset >= view->append.region_size)
        return false;
    entry_at(view->append.region + *offset, out);
    *offset += raft_message_entry_size(out->size);
    return true;
}

/* ---- bodies ---- */

/* Size of header and fixed body; 0 for what is not of consensus. */
static size_t fixed_size(enum message_type type)
{
    switch (type) {
    case MESSAGE_REQUEST_VOTE:
    case MESSAGE_APPEND_ENTRIES:
        return 48;
    case MESSAGE_READ_INDEX_RESULT:
        return 40;
    case MESSAGE_APPEND_ENTRIES_RESULT:
    case MESSAGE_TIMEOUT_NOW:
    case MESSAGE_PROBE_RESULT:
    case MESSAGE_WATERMARK:
    case MESSAGE_JOURNAL_END:
        return 32;
    case MESSAGE_REQUEST_VOTE_RESULT:
    case MESSAGE_PROBE:
    case MESSAGE_READ_INDEX:
    case MESSAGE_LOST_ENTRIES:
        return 24;
    case MESSAGE_FLOORS:
        return 16;
    default:
        return 0;
    }
}

/* Two booleans and zeros. */
static bool flags_are_sound(const uint8_t *bytes, size_t size, uint8_t first_max,
                            uint8_t second_max)
{
    return bytes[0] <= first_max && bytes[1] <= second_max && are_zero(bytes + 2, size - 2);
}

static enum status decode_vote(const uint8_t *bytes, struct raft_message_view *out)
{
    if (!flags_are_sound(bytes + 40, 8, 1, 1))
        return STATUS_INVALID;
    out->vote.term = get_u64(bytes + 8);
    out->vote.candidate_id = get_u64(bytes + 16);
    out->vote.last_index = get_u64(bytes + 24);
    out->vote.last_term = get_u64(bytes + 32);
    out->vote.disrupts_leader = bytes[40] != 0;
    out->vote.is_pre_vote = bytes[41] != 0;
    return out->vote.candidate_id != 0 && out->vote.last_term <= out->vote.term &&
                   (out->vote.last_index == 0) == (out->vote.last_term == 0)
               ? STATUS_OK
               : STATUS_INVALID;
}

static enum status decode_vote_result(const uint8_t *bytes, struct raft_message_view *out)
{
    if (!flags_are_sound(bytes + 16, 8, 1, 1))
        return STATUS_INVALID;
    out->vote_result.term = get_u64(bytes + 8);
    out->vote_result.granted = bytes[16] != 0;
    out->vote_result.of_pre_vote = bytes[17] != 0;
    return STATUS_OK;
}

static enum status decode_append(const uint8_t *bytes, size_t size, struct raft_message_view *out)
{
    out->append.term = get_u64(bytes + 8);
    out->append.previous_index = get_u64(bytes + 16);
    out->append.previous_term = get_u64(bytes + 24);
    out->append.commit = get_u64(bytes + 32);
    out->append.count = get_u32(bytes + 40);
    out->append.region_size = get_u32(bytes + 44);
    out->append.region = bytes + RAFT_MESSAGE_FIXED_SIZE;
    if (out->append.region_size != size - RAFT_MESSAGE_FIXED_SIZE ||
        out->append.previous_term > out->append.term ||
        (out->append.previous_index == 0) != (out->append.previous_term == 0) ||
        out->append.previous_index > UINT64_MAX / 2)
        return STATUS_INVALID;
    return check_entries(out);
}

static enum status decode_append_result(const uint8_t *bytes, struct raft_message_view *out)
{
    out->append_result.term = get_u64(bytes + 8);
    out->append_result.rejected = get_u64(bytes + 16);
    out->append_result.last_index = get_u64(bytes + 24);
    return out->append_result.rejected <= UINT64_MAX / 2 &&
                   out->append_result.last_index <= UINT64_MAX / 2
               ? STATUS_OK
               : STATUS_INVALID;
}

static enum status decode_read_index_result(const uint8_t *bytes, struct raft_message_view *out)
{
    if (!flags_are_sound(bytes + 32, 8, 1, 0))
        return STATUS_INVALID;
    out->read_index_result.term = get_u64(bytes + 8);
    out->read_index_result.sequence = get_u64(bytes + 16);
    out->read_index_result.index = get_u64(bytes + 24);
    out->read_index_result.ready = bytes[32] != 0;
    return out->read_index_result.ready || out->read_index_result.index == 0 ? STATUS_OK
                                                                             : STATUS_INVALID;
}

static enum status decode_floors(const uint8_t *bytes, size_t size, struct raft_message_view *out)
{
    out->floors.count = get_u32(bytes + 8);
    out->floors.bytes = bytes + 16;
    return out->floors.count <= MEMBERS_MAX && get_u32(bytes + 12) == 0 &&
                   size == 16 + out->floors.count * sizeof(struct floor) &&
                   floors_are_sound(out->floors.bytes, out->floors.count)
               ? STATUS_OK
               : STATUS_INVALID;
}

static enum status decode_journal_end(const uint8_t *bytes, struct raft_message_view *out)
{
    out->journal_end.last_index = get_u64(bytes + 8);
    out->journal_end.floor_index = get_u64(bytes + 16);
    out->journal_end.floor_term = get_u64(bytes + 24);
    return out->journal_end.last_index <= UINT64_MAX / 2 &&
                   out->journal_end.floor_index <= UINT64_MAX / 2 &&
                   out->journal_end.floor_term <= UINT64_MAX / 2 &&
                   (out->journal_end.floor_index != 0 || out->journal_end.floor_term == 0)
               ? STATUS_OK
               : STATUS_INVALID;
}

static enum status decode_body(const uint8_t *bytes, size_t size, struct raft_message_view *out)
{
    switch (out->type) {
    case MESSAGE_REQUEST_VOTE:
        return decode_vote(bytes, out);
    case MESSAGE_REQUEST_VOTE_RESULT:
        return decode_vote_result(bytes, out);
    case MESSAGE_APPEND_ENTRIES:
        return decode_append(bytes, size, out);
    case MESSAGE_APPEND_ENTRIES_RESULT:
        return decode_append_result(bytes, out);
    case MESSAGE_READ_INDEX_RESULT:
        return decode_read_index_result(bytes, out);
    case MESSAGE_TIMEOUT_NOW:
        out->timeout_now.term = get_u64(bytes + 8);
        out->timeout_now.last_index = get_u64(bytes + 16);
        out->timeout_now.last_term = get_u64(bytes + 24);
        return STATUS_OK;
    case MESSAGE_PROBE:
        out->probe.term = get_u64(bytes + 8);
        out->probe.sequence = get_u64(bytes + 16);
        return STATUS_OK;
    case MESSAGE_PROBE_RESULT:
        out->probe_result.term = get_u64(bytes + 8);
        out->probe_result.sequence = get_u64(bytes + 16);
        out->probe_result.wall_ns = (int64_t)get_u64(bytes + 24);
        return STATUS_OK;
    case MESSAGE_READ_INDEX:
        out->read_index.term = get_u64(bytes + 8);
        out->read_index.sequence = get_u64(bytes + 16);
        return STATUS_OK;
    case MESSAGE_WATERMARK:
        out->watermark.term = get_u64(bytes + 8);
        out->watermark.index = get_u64(bytes + 16);
        out->watermark.both = get_u64(bytes + 24);
        return STATUS_OK;
    case MESSAGE_LOST_ENTRIES:
        out->lost_entries.term = get_u64(bytes + 8);
        out->lost_entries.index = get_u64(bytes + 16);
        return out->lost_entries.index > 0 && out->lost_entries.index <= UINT64_MAX / 2
                   ? STATUS_OK
                   : STATUS_INVALID;
    case MESSAGE_FLOORS:
        return decode_floors(bytes, size, out);
    case MESSAGE_JOURNAL_END:
        return decode_journal_end(bytes, out);
    default:
        return STATUS_INVALID;
    }
}

/* These two are said whatever the term. */
static bool has_term(enum message_type type)
{
    return type != MESSAGE_FLOORS && type != MESSAGE_JOURNAL_END;
}

enum status raft_message_decode(const void *message, size_t size, struct raft_message_view *out)
{
    const uint8_t *bytes = message;
    if (size < sizeof(struct message_header))
        return STATUS_INVALID;
    memset(out, 0, sizeof *out);
    out->type = (enum message_type)get_u16(bytes);
    size_t fixed = fixed_size(out->type);
    if (fixed == 0 || get_u16(bytes + 2) != 0 || get_u32(bytes + 4) != size || size < fixed)
        return STATUS_INVALID;
    if (size > fixed && out->type != MESSAGE_APPEND_ENTRIES && out->type != MESSAGE_FLOORS)
        return STATUS_INVALID;
    /* No message is of term 0, and no term comes near the end of its type by honest means. */
    uint64_t term = get_u64(bytes + 8);
    if (has_term(out->type) && (term == 0 || term > UINT64_MAX / 2))
        return STATUS_INVALID;
    return decode_body(bytes, size, out);
}

size_t raft_message_encode(const struct raft_message_view *view,
                           uint8_t out[RAFT_MESSAGE_FIXED_SIZE])
{
    size_t size = fixed_size(view->type);
    memset(out, 0, RAFT_MESSAGE_FIXED_SIZE);
    struct message_header header = {.type = (uint16_t)view->type, .size = (uint32_t)size};
    switch (view->type) {
    case MESSAGE_REQUEST_VOTE:
        put_u64(out + 8, view->vote.term);
        put_u64(out + 16, view->vote.candidate_id);
        put_u64(out + 24, view->vote.last_index);
        put_u64(out + 32, view->vote.last_term);
        out[40] = view->vote.disrupts_leader;
        out[41] = view->vote.is_pre_vote;
        break;
    case MESSAGE_REQUEST_VOTE_RESULT:
        put_u64(out + 8, view->vote_result.term);
        out[16] = view->vote_result.granted;
        out[17] = view->vote_result.of_pre_vote;
        break;
    case MESSAGE_APPEND_ENTRIES:
        put_u64(out + 8, view->append.term);
        put_u64(out + 16, view->append.previous_index);
        put_u64(out + 24, view->append.previous_term);
        put_u64(out + 32, view->append.commit);
        put_u32(out + 40, view->append.count);
        put_u32(out + 44, view->append.region_size);
        header.size += view->append.region_size;
        break;
    case MESSAGE_APPEND_ENTRIES_RESULT:
        put_u64(out + 8, view->append_result.term);
        put_u64(out + 16, view->append_result.rejected);
        put_u64(out + 24, view->append_result.last_index);
        break;
    case MESSAGE_TIMEOUT_NOW:
        put_u64(out + 8, view->timeout_now.term);
        put_u64(out + 16, view->timeout_now.last_index);
        put_u64(out + 24, view->timeout_now.last_term);
        break;
    case MESSAGE_PROBE:
        put_u64(out + 8, view->probe.term);
        put_u64(out + 16, view->probe.sequence);
        break;
    case MESSAGE_PROBE_RESULT:
        put_u64(out + 8, view->probe_result.term);
        put_u64(out + 16, view->probe_result.sequence);
        put_u64(out + 24, (uint64_t)view->probe_result.wall_ns);
        break;
    case MESSAGE_READ_INDEX:
        put_u64(out + 8, view->read_index.term);
        put_u64(out + 16, view->read_index.sequence);
        break;
    case MESSAGE_READ_INDEX_RESULT:
        put_u64(out + 8, view->read_index_result.term);
        put_u64(out + 16, view->read_index_result.sequence);
        put_u64(out + 24, view->read_index_result.index);
        out[32] = view->read_index_result.ready;
        break;
    case MESSAGE_WATERMARK:
        put_u64(out + 8, view->watermark.term);
        put_u64(out + 16, view->watermark.index);
        put_u64(out + 24, view->watermark.both);
        break;
    case MESSAGE_LOST_ENTRIES:
        put_u64(out + 8, view->lost_entries.term);
        put_u64(out + 16, view->lost_entries.index);
        break;
    case MESSAGE_FLOORS:
        put_u32(out + 8, view->floors.count);
        header.size += view->floors.count * (uint32_t)sizeof(struct floor);
        break;
    case MESSAGE_JOURNAL_END:
        put_u64(out + 8, view->journal_end.last_index);
        put_u64(out + 16, view->journal_end.floor_index);
        put_u64(out + 24, view->journal_end.floor_term);
        break;
    default:
        return 0;
    }
    memcpy(out, &header, sizeof header);
    return size;
}
