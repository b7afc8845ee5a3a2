/*
 * The small files of a data directory, on hostile bytes: identity, current, hard_state, the
 * certificate, quarantine, the witness's note of where its log begins, and the floors.
 *
 * The input: a byte that chooses the file, a byte whose bit 0 makes checksums right (so that what
 * lies behind them is reached), and either the file's bytes (bit 1 clear) or patches, offset u16
 * and value u8, of a sound file.
 *
 *   - each reader answers with a status; what is read can be written, and then the file has the
 * same bytes again (the texts) or reads to the same values;
 *   - a patch that changes a byte of a checked file is refused, unless the checksum was made right;
 *   - hard state: whatever is accepted, the vote of its term stays after the next write and read.
 */
#include "fuzz.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/directory.h"
#include "replication/node/certificate.h"
#include "replication/node/certificate_survivor.h"
#include "replication/node/digests.h"
#include "replication/node/floor_file.h"
#include "storage/hard_state.h"
#include "storage/hash.h"
#include "tests/lib/files_memory.h"

#include <xxhash.h>

#define WITNESS_FILE "witness_log"

static const struct identity sound_identity = {
    .cluster_id = {1, 2, 3},
    .node_id = 2,
    .kind = MEMBER_DATA,
    .site = "B",
    .address = "b1.bank.example:7001",
    .incarnation = {9, 8, 7},
    .cluster_epoch = 1,
    .reserve_bytes = 1 << 20,
};

static void put(const struct files *files, const char *name, const void *bytes, size_t size)
{
    need(files_replace(files, name, bytes, size) == STATUS_OK, "a file is put there");
}

/* ---- checksums made right ---- */

static void repair_text(struct files_memory *memory, const char *name)
{
    static const char word[] = "checksum ";
    uint64_t size = 0;
    uint8_t *bytes = files_memory_bytes(memory, name, &size);
    uint8_t hash[HASH_SIZE];
    for (uint64_t at = size; bytes != NULL && at-- > 0;) {
        if (size - at < sizeof word - 1 + 2 * HASH_SIZE ||
            memcmp(bytes + at, word, sizeof word - 1) != 0)
            continue;
        const struct hash_part part = {.bytes = bytes, .size = at};
        hash_parts(&part, 1, hash);
        for (size_t i = 0; i < 2 * HASH_SIZE; i++)
            bytes[at + sizeof word - 1 + i] =
                (uint8_t) "0123456789abcdef"[hash[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
        return;
    }
}

static void repair_hard_state(struct files_memory *memory)
{
    uint64_t size = 0;
    uint8_t *bytes = files_memory_bytes(memory, "hard_state", &size);
    for (uint64_t at = 0; bytes != NULL && at + 4096 <= size; at += 4096) {
        XXH128_canonical_t canonical;
        memset(bytes + at + 48, 0, 16);
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes + at, 4096));
        memcpy(bytes + at + 48, canonical.digest, 16);
    }
}

/* What ends with a digest of all before. */
static void repair_digest(struct files_memory *memory, const char *name)
{
    uint64_t size = 0;
    uint8_t *bytes = files_memory_bytes(memory, name, &size);
    if (bytes == NULL || size < HASH_SIZE)
        return;
    const struct hash_part part = {.bytes = bytes, .size = size - HASH_SIZE};
    hash_parts(&part, 1, bytes + size - HASH_SIZE);
}

/* ---- the readers ---- */

static bool read_identity(struct files_memory *memory, const struct files *files)
{
    struct identity identity;
    uint64_t size = 0;
    if (identity_read(files, &identity) != STATUS_OK)
        return false;
    uint8_t *read = files_memory_bytes(memory, DIRECTORY_IDENTITY, &size);
    uint8_t *before = fuzz_copy(read, size);
    const uint64_t size_before = size;
    need(identity_write(files, &identity) == STATUS_OK, "an identity is written");
    read = files_memory_bytes(memory, DIRECTORY_IDENTITY, &size);
    need(fuzz_same(read, size, before, size_before), "one text for one identity");
    free(before);
    char line[IDENTITY_MEMBER_LINE_SIZE];
    identity_member_line(&identity, line);
    return true;
}

static bool read_current(struct files_memory *memory, const struct files *files)
{
    struct generation generation;
    uint64_t size = 0;
    if (current_read(files, &generation) != STATUS_OK)
        return false;
    need(generation.journal != 0 && generation.store != 0, "both are named");
    uint8_t *read = files_memory_bytes(memory, DIRECTORY_CURRENT, &size);
    uint8_t *before = fuzz_copy(read, size);
    const uint64_t size_before = size;
    need(current_write(files, &generation) == STATUS_OK, "it is written");
    read = files_memory_bytes(memory, DIRECTORY_CURRENT, &size);
    need(fuzz_same(read, size, before, size_before), "one text for one generation");
    free(before);
    return true;
}

static bool read_hard_state(const struct files *files)
{
    struct hard_state state, next;
    if (hard_state_read(files, &state) != STATUS_OK)
        return false;
    need(hard_state_read(files, &next) == STATUS_OK && next.term == state.term &&
             next.vote == state.vote,
         "read twice, the same");
    if (state.term == UINT64_MAX)
        return true;
    next = (struct hard_state){.term = state.term + 1, .vote = 7};
    /* A number at its end would begin anew; no file that was ever written has it. */
    if (hard_state_write(files, &next) == STATUS_OK) {
        enum status status = hard_state_read(files, &state);
        need(status == STATUS_CORRUPT ||
                 (status == STATUS_OK && state.vote == 7 && state.term == next.term),
             "a vote that was written is there, or the file is refused");
    }
    return true;
}

static enum status any_signature(void *context, const struct certificate_view *view, char *reason,
                                 size_t capacity)
{
    (void)context;
    need(view->signature_size > 0, "an unsigned certificate is refused before");
    snprintf(reason, capacity, "not looked at");
    return STATUS_OK;
}

static void note_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b);

static bool read_survivor(const struct files *files)
{
    static struct survivor survivor;
    static struct certificates certificates;
    static const struct survivor_judge judge = {.signature = any_signature};
    char error[600] = "";
    memset(&survivor, 0, sizeof survivor);
    survivor.path = "here";
    survivor.files = *files;
    const enum status status = survivor_read(&survivor, &judge, error, sizeof error);
    if (status != STATUS_OK) {
        need(error[0] != '\0', "a directory that cannot be read is refused in words");
        return false;
    }
    need(memchr(survivor.quarantine_text, 0, sizeof survivor.quarantine_text) != NULL, "text ends");
    need(memchr(survivor.certificate_text, 0, sizeof survivor.certificate_text) != NULL,
         "text ends");
    /* A node that starts holds exactly what can be read (signed or not, it is its own cluster's).
     */
    certificates.identity = &survivor.identity;
    certificates.files = files;
    certificates.size = 0;
    const struct notify notify = {.event = note_event};
    certificates.notify = &notify;
    certificates_load(&certificates);
    const bool good = survivor.certificate_state == SURVIVOR_CERTIFICATE_GOOD;
    need(!good || certificates.size > 0, "what counts as evidence a start would hold");
    if (good)
        need(memcmp(certificates.record.cluster_id, survivor.identity.cluster_id, 16) == 0,
             "evidence is of this cluster");
    return good;
}

static void note_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    (void)context;
    (void)a;
    (void)b;
    need(name[0] != '\0' && text[0] != '\0', "an event has a name and words");
}

/* Taken whole or not at all: what is held is a table that a message could carry. */
static bool read_floors(const struct files *files)
{
    const struct notify notify = {.event = note_event};
    static struct floor_file file;
    file = (struct floor_file){.notify = &notify, .files = files, .identity = &sound_identity};
    floor_file_load(&file);
    need(floors_are_sound(file.floors.floors, file.floors.count), "a sound table");
    return file.floors.count > 0;
}

/* ---- the witness's note ---- */

static uint64_t clock_ns(void *context)
{
    (void)context;
    return 1;
}

static void random_bytes(void *context, void *out, size_t size)
{
    (void)context;
    memset(out, 0x5a, size);
}

static void wake(void *context)
{
    (void)context;
}

static void appended(struct journal_append *append, enum status status)
{
    (void)append;
    need(status == STATUS_OK, "an append");
}

static void run(struct journal *journal)
{
    uint64_t wait;
    while (journal_preparer_step(journal, &wait) == JOB_AGAIN)
        continue;
    while (journal_writer_step(journal, &wait) == JOB_AGAIN)
        continue;
    journal_process(journal);
}

#define WITNESS_ENTRIES 6u

/* Entries 1 .. 6 of term 2; made once, only read afterwards. */
static struct journal *witness_journal(void)
{
    static struct journal *journal;
    if (journal != NULL)
        return journal;
    const struct journal_options options = {.files = files_memory_table(files_memory_create(1)),
                                            .segment_size = 64 * 1024,
                                            .clock_ns = clock_ns,
                                            .random = random_bytes,
                                            .wake_writer = wake,
                                            .wake_preparer = wake,
                                            .wake_loop = wake};
    struct journal_damage damage;
    uint64_t cut;
    need(journal_create(&options) == STATUS_OK, "create");
    need(journal_open(&options, &journal, &damage, &cut) == STATUS_OK, "open");
    for (uint64_t i = 1; i <= WITNESS_ENTRIES; i++) {
        const struct journal_entry entry = {
            .index = i, .term = 2, .type = JOURNAL_COMMAND, .size = 8, .payload = "payload"};
        struct journal_append append = {.entries = &entry, .entry_count = 1, .cb = appended};
        run(journal);
        need(journal_append(journal, &append) == STATUS_OK, "append");
        run(journal);
    }
    return journal;
}

static bool read_witness(const struct files *files)
{
    static struct consensus_raft *c;
    if (c == NULL)
        c = calloc(1, sizeof *c);
    need(c != NULL, "memory");
    c->options.files = files;
    c->options.journal = witness_journal();
    c->noted_index = c->noted_term = 0;
    need(raft_io_recall_witness(c) == STATUS_OK, "a note that is none is as good as none");
    need(c->options.durable_index <= WITNESS_ENTRIES, "the log begins inside of the journal");
    need(c->options.durable_index == 0 || c->options.durable_term == 2, "with the journal's term");
    need(c->noted_index == 0 || c->noted_index == c->options.durable_index, "where it was noted");
    uint8_t bytes[JOURNAL_CONFIGURATION_SIZE_MAX];
    (void)agreed_encode(&c->loaded,
                        bytes); /* what was loaded can be written: its invariants hold */
    return c->noted_index != 0 || c->loaded.durability_index != 0;
}

/* ---- sound files ---- */

static void put_sound_note(const struct files *files)
{
    static struct {
        uint8_t magic[8];
        uint64_t index, term, size;
        uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
        uint8_t digest[HASH_SIZE];
    } note = {.magic = "TLYWITN2", .index = 4, .term = 2};
    static struct agreed agreed;
    agreed_init(&agreed);
    agreed.configuration_index = 1;
    agreed.configuration_size = 16;
    note.size = agreed_encode(&agreed, note.configuration);
    put(files, WITNESS_FILE, &note, sizeof note);
}

static void put_sound_certificate(const struct files *files)
{
    static uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view = {.signature = (const uint8_t *)"signature",
                                    .signature_size = 9,
                                    .chain = (const uint8_t *)"chain",
                                    .chain_size = 5};
    certificate_record_begin(&view.record);
    memcpy(view.record.cluster_id, sound_identity.cluster_id, 16);
    view.record.cluster_epoch = 1;
    view.record.node_id = 2;
    view.record.term = view.record.sequence = view.record.index = view.record.index_term = 3;
    put(files, CERTIFICATE_FILE, bytes, certificate_encode(&view, bytes));
}

static void put_sound_floors(const struct files *files)
{
    struct floor_record record = {
        .magic = "TLYFLOR1",
        .cluster_epoch = sound_identity.cluster_epoch,
        .count = 2,
        .floors = {{.node_id = 1, .index = 41, .term = 3}, {.node_id = 2, .index = 40, .term = 3}},
    };
    memcpy(record.cluster_id, sound_identity.cluster_id, sizeof record.cluster_id);
    put(files, FLOOR_FILE, &record, sizeof record);
}

static struct files_memory *sound_directory(void)
{
    static struct files_memory *memory;
    if (memory != NULL)
        return memory;
    memory = files_memory_create(1);
    const struct files *files = files_memory_table(memory);
    const struct generation generation = {
        .journal = 7, .store = 6, .committed_index = 41000, .committed_term = 9};
    const struct hard_state state = {.term = 4, .vote = 2};
    need(identity_write(files, &sound_identity) == STATUS_OK, "identity");
    need(current_write(files, &generation) == STATUS_OK, "current");
    need(hard_state_create(files) == STATUS_OK && hard_state_write(files, &state) == STATUS_OK,
         "hard state");
    put(files, QUARANTINE_FILE, "words for people\n", 17);
    put_sound_certificate(files);
    put_sound_note(files);
    repair_digest(memory, WITNESS_FILE);
    put_sound_floors(files);
    repair_digest(memory, FLOOR_FILE);
    files_memory_settle(memory);
    return memory;
}

static const char *const names[] = {DIRECTORY_IDENTITY, DIRECTORY_CURRENT, "hard_state",
                                    CERTIFICATE_FILE,   QUARANTINE_FILE,   WITNESS_FILE,
                                    FLOOR_FILE};
enum { IDENTITY, CURRENT, HARD_STATE, CERTIFICATE, QUARANTINE, WITNESS, FLOORS, FILE_COUNT };

static void repair(struct files_memory *memory, unsigned choice)
{
    if (choice == IDENTITY || choice == CURRENT)
        repair_text(memory, names[choice]);
    if (choice == HARD_STATE)
        repair_hard_state(memory);
    if (choice == CERTIFICATE || choice == WITNESS || choice == FLOORS)
        repair_digest(memory, names[choice]);
}

static bool read_choice(struct files_memory *memory, unsigned choice)
{
    const struct files *files = files_memory_table(memory);
    switch (choice) {
    case IDENTITY:
        return read_identity(memory, files);
    case CURRENT:
        return read_current(memory, files);
    case HARD_STATE:
        return read_hard_state(files);
    case WITNESS:
        return read_witness(files);
    case FLOORS:
        return read_floors(files);
    default:
        return read_survivor(files);
    }
}

/* Returns whether a byte is another than before. */
static bool patch(struct files_memory *memory, const char *name, const uint8_t *at, size_t size)
{
    uint64_t file_size = 0;
    uint8_t *bytes = files_memory_bytes(memory, name, &file_size);
    uint8_t *before = fuzz_copy(bytes, file_size);
    for (; size >= 3; at += 3, size -= 3)
        bytes[((size_t)at[0] | (size_t)at[1] << 8) % file_size] = at[2];
    const bool changed = memcmp(before, bytes, file_size) != 0;
    free(before);
    return changed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 32 * 1024)
        return 0;
    const unsigned choice = data[0] % FILE_COUNT;
    const bool repairs = (data[1] & 1) != 0, patches = (data[1] & 2) != 0;
    struct files_memory *memory = files_memory_clone(sound_directory(), 1);
    bool changed = true;
    if (patches)
        changed = patch(memory, names[choice], data + 2, size - 2);
    else
        put(files_memory_table(memory), names[choice], data + 2, size - 2);
    if (repairs)
        repair(memory, choice);
    const bool accepted = read_choice(memory, choice);
    const bool is_checked = choice == IDENTITY || choice == CURRENT || choice == HARD_STATE ||
                            choice == CERTIFICATE || choice == FLOORS;
    if (patches && !repairs && is_checked)
        need(accepted == !changed, changed ? "damage was not refused" : "a sound file was refused");
    files_memory_destroy(memory);
    return 0;
}
