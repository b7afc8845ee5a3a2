/*
 * What libraft begins with: the hard state, and its log from the journal.
 *
 *                  tail          D         C          last
 *     journal  ─────┼────────────┼─────────┼───────────┤
 *     memory        ├── kept ────┤── to be pulled ──────┤     snapshot = {C, its term, members}
 *
 * Everything above D (what the store holds durably) must be in memory, because it is pulled from
 * there; something below is kept for followers that are a little behind. A snapshot is a statement
 * and nothing else, no bytes belong to it: that everything up to C is committed. C is D, or what a
 * catch-up installed beyond it: all that is in a copy was committed, and a node that could not
 * apply it before it heard its leader agree would fall behind once more, in an old state.
 *
 * The entries of the founder's journal begin with the configuration that founds the cluster; with
 * C = 0 there is no snapshot and libraft takes its members from there. A node that only joins has
 * neither entries nor snapshot, and knows nobody until a leader speaks to it.
 *
 * The mode of the log likewise: the newest durability entry known to be committed is in force at C
 * or comes between D and C; those that are loaded say for themselves.
 *
 * How libraft keeps an entry:
 *     RAFT_COMMAND   u16 type, u16 0, u32 size, payload, zeros to a multiple of eight
 *     RAFT_BARRIER   eight bytes that mean nothing; JOURNAL_BARRIER without a payload
 *     RAFT_CHANGE    the payload of JOURNAL_CONFIGURATION, libraft's own encoding
 */
#include "core/bounds.h"
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX_SIZE 8u

static size_t padded(size_t size)
{
    return (size + 7u) & ~(size_t)7;
}

void raft_io_entry(const struct raft_entry *entry, uint64_t index, struct journal_entry *out)
{
    *out = (struct journal_entry){.index = index, .term = entry->term};
    const uint8_t *base = entry->buf.base;
    if (entry->type == RAFT_BARRIER) {
        out->type = JOURNAL_BARRIER;
        return;
    }
    if (entry->type == RAFT_CHANGE) {
        out->type = JOURNAL_CONFIGURATION;
        out->size = (uint32_t)entry->buf.len;
        out->payload = base;
        return;
    }
    invariant(entry->buf.len >= PREFIX_SIZE);
    memcpy(&out->type, base, sizeof out->type);
    memcpy(&out->size, base + 4, sizeof out->size);
    invariant_values(PREFIX_SIZE + padded(out->size) == entry->buf.len, out->size, entry->buf.len);
    out->payload = base + PREFIX_SIZE;
}

uint64_t raft_io_payload_size(const struct raft_entry *entry)
{
    return entry->buf.len;
}

bool raft_io_buffer(uint16_t type, const void *payload, uint32_t size, unsigned short *out_type,
                    struct raft_buffer *out)
{
    size_t prefix = 0;
    *out_type = RAFT_COMMAND;
    if (type == JOURNAL_BARRIER || type == JOURNAL_CONFIGURATION)
        *out_type = type == JOURNAL_BARRIER ? RAFT_BARRIER : RAFT_CHANGE;
    else
        prefix = PREFIX_SIZE;
    out->len = prefix + padded(size);
    if (type == JOURNAL_BARRIER)
        out->len = PREFIX_SIZE;
    uint8_t *base = raft_io_take(out->len);
    out->base = base;
    if (base == NULL)
        return false;
    memset(base, 0, prefix);
    memset(base + (out->len - 8), 0, 8); /* the padding */
    if (prefix > 0) {
        memcpy(base, &type, sizeof type);
        memcpy(base + 4, &size, sizeof size);
    }
    if (size > 0)
        memcpy(base + prefix, payload, size);
    return true;
}

/* ---- loading ---- */

struct loading {
    struct consensus_raft *c;
    struct raft_entry *entries;
    size_t count, capacity;
    bool out_of_memory, malformed;
    uint64_t malformed_index;
};

static bool load_entry(void *context, const struct journal_entry *entry)
{
    struct loading *loading = context;
    if (loading->count == loading->capacity) {
        size_t capacity = loading->capacity == 0 ? 256 : loading->capacity * 2;
        struct raft_entry *larger =
            raft_realloc(loading->entries, capacity * sizeof *loading->entries);
        loading->entries = larger;
        loading->capacity = capacity;
    }
    struct member_table table;
    if (entry->type == JOURNAL_CONFIGURATION &&
        (entry->size % 8 != 0 ||
         member_table_decode(entry->payload, entry->size, &table) != STATUS_OK)) {
        loading->malformed = true;
        loading->malformed_index = entry->index;
        return false;
    }
    struct raft_entry *out = &loading->entries[loading->count];
    *out = (struct raft_entry){.term = entry->term};
    if (!raft_io_buffer(entry->type, entry->payload, entry->size, &out->type, &out->buf)) {
        loading->out_of_memory = true;
        return false;
    }
    loading->count++;
    return true;
}

static void free_entries(struct loading *loading)
{
    for (size_t i = 0; i < loading->count; i++)
        raft_free(loading->entries[i].buf.base);
    raft_free(loading->entries);
    *loading = (struct loading){.c = loading->c};
}

static int fail_reading(struct loading *loading, enum status status, uint64_t first, uint64_t last)
{
    char text[320];
    if (loading->out_of_memory) {
        status = STATUS_NO_MEMORY;
        snprintf(text, sizeof text,
                 "not enough memory for the journal's entries %" PRIu64 " to %" PRIu64, first,
                 last);
    } else if (loading->malformed) {
        status = STATUS_CORRUPT;
        snprintf(text, sizeof text,
                 "entry %" PRIu64 " of the journal is no list of members that this version can "
                 "read; upgrade tallyd, or rebuild this node from its peers",
                 loading->malformed_index);
    } else {
        snprintf(text, sizeof text,
                 "the journal cannot be read at or after entry %" PRIu64
                 " (%s); run `tally journal verify` on it, repair it from a backup or a peer",
                 first + loading->count, status_text(status));
    }
    consensus_fail(loading->c, status, text);
    free_entries(loading);
    return RAFT_CORRUPT;
}

/* Entries [first, last] of the journal. */
static int load_entries(struct loading *loading, uint64_t first, uint64_t last)
{
    if (first > last)
        return 0;
    enum status status =
        journal_read(loading->c->options.journal, first, last, load_entry, loading);
    if (status != STATUS_OK || loading->count != last - first + 1)
        return fail_reading(loading, status, first, last);
    return 0;
}

static int fail_members(struct consensus_raft *c)
{
    consensus_fail(c, STATUS_CORRUPT,
                   "the members of the cluster are not recorded with the checkpoint, or not "
                   "readable; restore the store from a backup or rebuild this node from its peers");
    return RAFT_CORRUPT;
}

/* The members as of C: what the store noted, or a later entry between D and C. A configuration
 * committed later than that may have been noted with D: it is in force, and its entry is in the log
 * above and will say so again. False: none is known. */
static bool find_members(const struct consensus_raft *c, const struct loading *loading,
                         uint64_t first, uint64_t *out_index, struct raft_buffer *out)
{
    *out_index = c->loaded.configuration_index;
    out->base = (void *)(uintptr_t)c->loaded.configuration; /* it is only read */
    out->len = c->loaded.configuration_size;
    for (size_t i = 0; i < loading->count && first + i <= c->loaded_index; i++) {
        if (loading->entries[i].type != RAFT_CHANGE || first + i <= *out_index)
            continue;
        *out_index = first + i;
        *out = loading->entries[i].buf;
    }
    return *out_index > 0;
}

/* The statement about C; entries from `first` on are loaded. */
static int make_snapshot(struct consensus_raft *c, const struct loading *loading, uint64_t first,
                         struct raft_snapshot **out)
{
    const uint64_t index = c->loaded_index;
    uint64_t configuration_index;
    struct raft_buffer encoded;
    struct member_table table;
    if (!find_members(c, loading, first, &configuration_index, &encoded) ||
        member_table_decode(encoded.base, encoded.len, &table) != STATUS_OK)
        return fail_members(c);
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof *snapshot);
    snapshot->index = index;
    snapshot->term = c->loaded_term;
    snapshot->configuration_index = configuration_index < index ? configuration_index : index;
    raft_configuration_init(&snapshot->configuration);
    if (raft_layout_decode_configuration(&encoded, &snapshot->configuration) != 0) {
        raft_configuration_close(&snapshot->configuration);
        raft_free(snapshot);
        return fail_members(c);
    }
    snapshot->bufs = raft_calloc(1, sizeof *snapshot->bufs);
    snapshot->bufs[0].base = raft_calloc(1, 8);
    snapshot->bufs[0].len = 8;
    snapshot->n_bufs = 1;
    *out = snapshot;
    return 0;
}

static void free_snapshot(struct raft_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    raft_configuration_close(&snapshot->configuration);
    raft_free(snapshot->bufs[0].base);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
}

int raft_io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                 struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                 size_t *count)
{
    struct consensus_raft *c = consensus_of_io(io);
    struct journal_position position;
    journal_position(c->options.journal, &position);
    struct loading loading = {.c = c};
    const uint64_t durable = c->durable_index, last = position.synced_index;
    uint64_t first = 1;
    *snapshot = NULL;
    int code = 0;
    if (durable > last) {
        consensus_fail(c, STATUS_STORE_AHEAD,
                       "the store is newer than the journal; restore the journal, or rebuild this "
                       "node from its peers");
        return RAFT_CORRUPT;
    }
    if (durable > 0) {
        first = journal_tail(c->options.journal, durable < last ? durable : last,
                             c->options.tail_bytes);
        if (first > durable + 1)
            first = durable + 1;
    }
    code = load_entries(&loading, first, last);
    if (code == 0 && durable == 0 && loading.count > 0 && loading.entries[0].type != RAFT_CHANGE) {
        free_entries(&loading);
        code = fail_members(c);
    }
    if (code == 0 && c->loaded_index > 0)
        code = make_snapshot(c, &loading, first, snapshot);
    if (code != 0) {
        free_entries(&loading);
        free_snapshot(*snapshot);
        *snapshot = NULL;
        return code;
    }
    raft_guard_set_mode(&c->guard, c->loaded.durability_index, c->loaded.durability.mode);
    raft_io_log_grows(c, loading.entries, (unsigned)loading.count);
    c->trim_index = first - 1;
    c->synced_index = last;
    *term = c->hard_state.term;
    *vote = c->hard_state.vote;
    *start = first;
    *entries = loading.entries;
    *count = loading.count;
    return 0;
}
