/*
 * Where a witness's log in memory begins at its next start.
 *
 * A witness keeps everything above the watermark in its journal, which may be much when a site is
 * away for long; its memory is bounded like anybody's, and drops what is committed but for a tail.
 * A data node finds at its start how far its store is. A witness has no store, and its journal does
 * not tell what is committed; without a note it would have to take everything above the journal's
 * anchor into memory again. So whenever it drops a part of its log it notes up to where, in file
 * "witness_log":
 *
 *     0 magic "TLYWITN2"   8 index   16 term   24 size u64   32 members and mode (agreed.h)
 *     ... SHA-256 of all before
 *
 * It also notes each committed configuration and durability entry, before anything is pruned: the
 * anchor of a segment that was begun while a configuration was not committed yet has the one
 * before, and when the segment with the new one's entry is pruned nothing else would know it.
 *
 * The index is only a way to remember less: one that does not fit the journal is as good as none.
 * It is never above what is known to be committed: what lies below it is not looked at again, so
 * members and mode have to be those of that index or later.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "storage/hash.h"

#include <stddef.h>
#include <string.h>

#define FILE_NAME "witness_log"
#define MAGIC     "TLYWITN2"

struct note {
    uint8_t magic[8];
    uint64_t index, term;
    uint64_t configuration_size;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
    uint8_t digest[HASH_SIZE]; /* SHA-256 of all before */
};

_Static_assert(sizeof(struct note) == 32 + JOURNAL_CONFIGURATION_SIZE_MAX + HASH_SIZE, "format");
_Static_assert(offsetof(struct note, digest) == 32 + JOURNAL_CONFIGURATION_SIZE_MAX, "format");

static void digest_of(const struct note *note, uint8_t out[HASH_SIZE])
{
    const struct hash_part part = {.bytes = note, .size = offsetof(struct note, digest)};
    hash_parts(&part, 1, out);
}

bool raft_io_note_witness(struct consensus_raft *c, uint64_t index)
{
    const uint64_t term = raft_layout_term_at(&c->raft, index);
    if (term != 0 && index > c->noted_index) {
        c->noted_index = index;
        c->noted_term = term;
    }
    if (c->noted_index == 0)
        return true;
    struct note note = {.index = c->noted_index, .term = c->noted_term};
    memcpy(note.magic, MAGIC, sizeof note.magic);
    struct agreed agreed;
    consensus_agreed(c, &agreed);
    note.configuration_size = agreed_encode(&agreed, note.configuration);
    digest_of(&note, note.digest);
    return files_replace(c->options.files, FILE_NAME, &note, sizeof note) == STATUS_OK;
}

static bool read_note(const struct files *files, struct note *out)
{
    struct file *file = NULL;
    if (files->open(files->context, FILE_NAME, FILE_READ, &file) != STATUS_OK)
        return false;
    uint64_t size = 0;
    uint8_t digest[HASH_SIZE];
    bool sound = files->size(files->context, file, &size) == STATUS_OK && size == sizeof *out &&
                 files->read(files->context, file, out, sizeof *out, 0) == STATUS_OK;
    files->close(files->context, file);
    if (!sound)
        return false;
    digest_of(out, digest);
    return memcmp(digest, out->digest, sizeof digest) == 0 &&
           memcmp(out->magic, MAGIC, sizeof out->magic) == 0 &&
           out->configuration_size <= sizeof out->configuration;
}

enum status raft_io_recall_witness(struct consensus_raft *c)
{
    struct journal_position position;
    journal_position(c->options.journal, &position);
    c->options.durable_index = position.anchor_index;
    c->options.durable_term = position.anchor_term;
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    size_t size = 0;
    enum status status = journal_configuration(c->options.journal, bytes, sizeof bytes, &size);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND)
        return status;
    if (status == STATUS_NOT_FOUND || agreed_decode(bytes, size, &c->loaded) != STATUS_OK)
        agreed_init(&c->loaded);
    struct note note = {0};
    if (!read_note(c->options.files, &note))
        return STATUS_OK;
    uint64_t term = 0;
    if (note.index > position.anchor_index && note.index <= position.synced_index &&
        journal_term(c->options.journal, note.index, &term) == STATUS_OK && term == note.term) {
        c->options.durable_index = c->noted_index = note.index;
        c->options.durable_term = c->noted_term = note.term;
    }
    /* Both were committed when they were written: of each the later one counts. */
    struct agreed noted;
    if (!planted(PLANTED_NOTE_WITHOUT_MEMBERS) &&
        agreed_decode(note.configuration, (size_t)note.configuration_size, &noted) == STATUS_OK)
        agreed_merge(&c->loaded, &noted);
    return STATUS_OK;
}
