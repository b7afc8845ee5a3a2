/*
 * Bytes of catch-up's messages. Fixed layouts, little-endian, reserved bytes zero and checked: what
 * a decoder accepts, its encoder would have written.
 *
 *   OFFER    u64 term, log index, log term, durable index
 *   DONE     u64 term, index
 *   OPEN     u32 want, kind; u64 session, offset, index, term; 32 check
 *   OPENED   u32 status, configuration size; u64 session, store size, index, term; 32 head;
 *            configuration, zeros up to a multiple of 8
 *   READ     u64 session; u32 what, zero; u64 position
 *   DATA     u64 session; u32 what, size; u64 position; 32 check; u64 commit, needed;
 *            u32 at end, zero; u64 zero; bytes, zeros up to a multiple of 8
 *   CLOSE    u64 session; u32 status, zero
 *
 *   entry    u64 index, term; u32 size; u16 type, zero; payload, zeros up to a multiple of 8
 */
#include "replication/catch_up/catch_up_message.h"

#include "core/bounds.h"
#include "core/invariant.h"

#include <string.h>

#define HEAD sizeof(struct message_header)

/* ---- fields ---- */

struct writer {
    uint8_t *out;
    size_t size;
};

static struct writer begin(uint8_t *out)
{
    return (struct writer){.out = out, .size = HEAD};
}

static void put(struct writer *w, const void *bytes, size_t size)
{
    memcpy(w->out + w->size, bytes, size);
    w->size += size;
}

static void put_u64(struct writer *w, uint64_t value)
{
    put(w, &value, sizeof value);
}

static void put_u32(struct writer *w, uint32_t value)
{
    put(w, &value, sizeof value);
}

/* `more` bytes follow behind what was written. */
static size_t end(struct writer *w, enum message_type type, size_t more)
{
    invariant_values(w->size % 8 == 0 && w->size <= CATCH_UP_MESSAGE_SIZE, w->size, type);
    const struct message_header header = {.type = (uint16_t)type,
                                          .size = (uint32_t)(w->size + more)};
    memcpy(w->out, &header, sizeof header);
    return w->size;
}

struct reader {
    const uint8_t *bytes;
    size_t size, at;
    bool good;
};

static struct reader read_begin(const uint8_t *bytes, size_t size)
{
    return (struct reader){.bytes = bytes, .size = size, .at = HEAD, .good = size >= HEAD};
}

static void get(struct reader *r, void *out, size_t size)
{
    if (!r->good || size > r->size - r->at) {
        r->good = false;
        memset(out, 0, size);
        return;
    }
    memcpy(out, r->bytes + r->at, size);
    r->at += size;
}

static uint64_t get_u64(struct reader *r)
{
    uint64_t value;
    get(r, &value, sizeof value);
    return value;
}

static uint32_t get_u32(struct reader *r)
{
    uint32_t value;
    get(r, &value, sizeof value);
    return value;
}

static bool ended(const struct reader *r)
{
    return r->good && r->at == r->size;
}

static size_t padding(size_t size)
{
    return (8 - size % 8) % 8;
}

static bool are_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* ---- messages ---- */

size_t catch_up_offer_encode(const struct catch_up_offer *offer, uint8_t *out)
{
    struct writer w = begin(out);
    put_u64(&w, offer->term);
    put_u64(&w, offer->log_index);
    put_u64(&w, offer->log_term);
    put_u64(&w, offer->durable_index);
    return end(&w, MESSAGE_CATCH_UP_OFFER, 0);
}

bool catch_up_offer_decode(const uint8_t *bytes, size_t size, struct catch_up_offer *out)
{
    struct reader r = read_begin(bytes, size);
    out->term = get_u64(&r);
    out->log_index = get_u64(&r);
    out->log_term = get_u64(&r);
    out->durable_index = get_u64(&r);
    return ended(&r);
}

size_t catch_up_done_encode(const struct catch_up_done *done, uint8_t *out)
{
    struct writer w = begin(out);
    put_u64(&w, done->term);
    put_u64(&w, done->index);
    return end(&w, MESSAGE_CATCH_UP_DONE, 0);
}

bool catch_up_done_decode(const uint8_t *bytes, size_t size, struct catch_up_done *out)
{
    struct reader r = read_begin(bytes, size);
    out->term = get_u64(&r);
    out->index = get_u64(&r);
    return ended(&r);
}

size_t catch_up_open_encode(const struct catch_up_open *open, uint8_t *out)
{
    struct writer w = begin(out);
    put_u32(&w, open->want);
    put_u32(&w, open->kind);
    put_u64(&w, open->session);
    put_u64(&w, open->offset);
    put_u64(&w, open->index);
    put_u64(&w, open->term);
    put(&w, open->check, sizeof open->check);
    return end(&w, MESSAGE_CATCH_UP_OPEN, 0);
}

bool catch_up_open_decode(const uint8_t *bytes, size_t size, struct catch_up_open *out)
{
    struct reader r = read_begin(bytes, size);
    out->want = get_u32(&r);
    out->kind = get_u32(&r);
    out->session = get_u64(&r);
    out->offset = get_u64(&r);
    out->index = get_u64(&r);
    out->term = get_u64(&r);
    get(&r, out->check, sizeof out->check);
    return ended(&r) && out->want >= CATCH_UP_WHOLE && out->want <= CATCH_UP_RESUME &&
           (out->kind == MEMBER_DATA || out->kind == MEMBER_WITNESS);
}

size_t catch_up_opened_encode(const struct catch_up_opened *opened, uint8_t *out)
{
    static const uint8_t zeros[8];
    invariant_values(opened->configuration_size <= JOURNAL_CONFIGURATION_SIZE_MAX,
                     opened->configuration_size, 0);
    struct writer w = begin(out);
    put_u32(&w, opened->status);
    put_u32(&w, opened->configuration_size);
    put_u64(&w, opened->session);
    put_u64(&w, opened->store_size);
    put_u64(&w, opened->index);
    put_u64(&w, opened->term);
    put(&w, opened->head, sizeof opened->head);
    if (opened->configuration_size > 0)
        put(&w, opened->configuration, opened->configuration_size);
    put(&w, zeros, padding(opened->configuration_size));
    return end(&w, MESSAGE_CATCH_UP_OPENED, 0);
}

bool catch_up_opened_decode(const uint8_t *bytes, size_t size, struct catch_up_opened *out)
{
    struct reader r = read_begin(bytes, size);
    out->status = get_u32(&r);
    out->configuration_size = get_u32(&r);
    out->session = get_u64(&r);
    out->store_size = get_u64(&r);
    out->index = get_u64(&r);
    out->term = get_u64(&r);
    get(&r, out->head, sizeof out->head);
    if (!r.good || out->configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX)
        return false;
    const size_t padded = out->configuration_size + padding(out->configuration_size);
    out->configuration = bytes + r.at;
    return r.size - r.at == padded &&
           are_zero(bytes + r.at + out->configuration_size, padded - out->configuration_size);
}

size_t catch_up_read_encode(const struct catch_up_read *read, uint8_t *out)
{
    struct writer w = begin(out);
    put_u64(&w, read->session);
    put_u32(&w, read->what);
    put_u32(&w, 0);
    put_u64(&w, read->position);
    return end(&w, MESSAGE_CATCH_UP_READ, 0);
}

bool catch_up_read_decode(const uint8_t *bytes, size_t size, struct catch_up_read *out)
{
    struct reader r = read_begin(bytes, size);
    out->session = get_u64(&r);
    out->what = get_u32(&r);
    uint32_t reserved = get_u32(&r);
    out->position = get_u64(&r);
    return ended(&r) && reserved == 0 && out->what <= CATCH_UP_JOURNAL;
}

size_t catch_up_data_encode(const struct catch_up_data *data, uint8_t *out)
{
    struct writer w = begin(out);
    put_u64(&w, data->session);
    put_u32(&w, data->what);
    put_u32(&w, data->size);
    put_u64(&w, data->position);
    put(&w, data->check, sizeof data->check);
    put_u64(&w, data->commit_index);
    put_u64(&w, data->needed_index);
    put_u32(&w, data->at_end);
    put_u32(&w, 0);
    put_u64(&w, data->leader_term);
    invariant_values(w.size == CATCH_UP_DATA_HEAD_SIZE, w.size, CATCH_UP_DATA_HEAD_SIZE);
    invariant_values(data->size <= CATCH_UP_DATA_MAX, data->size, data->session);
    memset(out + w.size + data->size, 0, padding(data->size));
    const size_t more = data->size + padding(data->size);
    return end(&w, MESSAGE_CATCH_UP_DATA, more) + more;
}

bool catch_up_data_decode(const uint8_t *bytes, size_t size, struct catch_up_data *out,
                          const uint8_t **out_bytes)
{
    struct reader r = read_begin(bytes, size);
    out->session = get_u64(&r);
    out->what = get_u32(&r);
    out->size = get_u32(&r);
    out->position = get_u64(&r);
    get(&r, out->check, sizeof out->check);
    out->commit_index = get_u64(&r);
    out->needed_index = get_u64(&r);
    out->at_end = get_u32(&r);
    uint32_t reserved = get_u32(&r);
    out->leader_term = get_u64(&r);
    if (!r.good || reserved != 0 || out->at_end > 1 ||
        (out->what != CATCH_UP_STORE && out->what != CATCH_UP_JOURNAL) ||
        out->size > CATCH_UP_DATA_MAX || r.size - r.at != out->size + padding(out->size))
        return false;
    *out_bytes = bytes + r.at;
    return are_zero(bytes + r.at + out->size, padding(out->size));
}

size_t catch_up_close_encode(const struct catch_up_close *close, uint8_t *out)
{
    struct writer w = begin(out);
    put_u64(&w, close->session);
    put_u32(&w, close->status);
    put_u32(&w, 0);
    return end(&w, MESSAGE_CATCH_UP_CLOSE, 0);
}

bool catch_up_close_decode(const uint8_t *bytes, size_t size, struct catch_up_close *out)
{
    struct reader r = read_begin(bytes, size);
    out->session = get_u64(&r);
    out->status = get_u32(&r);
    uint32_t reserved = get_u32(&r);
    return ended(&r) && reserved == 0;
}

/* ---- entries ---- */

#define ENTRY_HEAD 24u

/* An entry of a type that a later version brings cannot be kept by this one's journal. */
static bool type_is_known(uint16_t type)
{
    return type >= JOURNAL_COMMAND && type <= JOURNAL_DIGEST;
}

size_t catch_up_entry_size(uint32_t payload_size)
{
    return ENTRY_HEAD + payload_size + padding(payload_size);
}

void catch_up_entry_encode(const struct journal_entry *entry, uint8_t *out)
{
    const uint16_t reserved = 0;
    memcpy(out, &entry->index, 8);
    memcpy(out + 8, &entry->term, 8);
    memcpy(out + 16, &entry->size, 4);
    memcpy(out + 20, &entry->type, 2);
    memcpy(out + 22, &reserved, 2);
    if (entry->size > 0)
        memcpy(out + ENTRY_HEAD, entry->payload, entry->size);
    memset(out + ENTRY_HEAD + entry->size, 0, padding(entry->size));
}

bool catch_up_entries_decode(const uint8_t *bytes, size_t size, uint64_t after, uint64_t term,
                             struct journal_entry out[CATCH_UP_ENTRIES_MAX], uint32_t *out_count)
{
    uint32_t count = 0;
    for (size_t at = 0; at < size; count++) {
        struct journal_entry entry = {0};
        uint16_t reserved;
        if (count == CATCH_UP_ENTRIES_MAX || size - at < ENTRY_HEAD)
            return false;
        memcpy(&entry.index, bytes + at, 8);
        memcpy(&entry.term, bytes + at + 8, 8);
        memcpy(&entry.size, bytes + at + 16, 4);
        memcpy(&entry.type, bytes + at + 20, 2);
        memcpy(&reserved, bytes + at + 22, 2);
        if (reserved != 0 || entry.index != after + 1 || entry.term < term ||
            !type_is_known(entry.type) || entry.size > ENTRY_SIZE_MAX ||
            catch_up_entry_size(entry.size) > size - at)
            return false;
        entry.payload = bytes + at + ENTRY_HEAD;
        if (!are_zero(bytes + at + ENTRY_HEAD + entry.size, padding(entry.size)))
            return false;
        out[count] = entry;
        after = entry.index;
        term = entry.term;
        at += catch_up_entry_size(entry.size);
    }
    *out_count = count;
    return true;
}
