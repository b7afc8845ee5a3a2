#include "tests/storage/journal_rig.h"

#include "storage/hash.h"
#include "storage/journal_state.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct rig_request {
    struct journal_append append;
    struct rig *rig;
    struct journal_entry *entries;
    uint8_t *payloads;
    struct rig_request *next;
};

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t rig_draw(struct rig *rig)
{
    return mix(rig->random += 0x9e3779b97f4a7c15ull);
}

static uint64_t clock_ns(void *context)
{
    return ((struct rig *)context)->clock;
}

static void random_bytes(void *context, void *out, size_t size)
{
    uint8_t *bytes = out;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rig_draw(context);
}

static void wake(void *context)
{
    (void)context; /* the rig steps everything itself */
}

void rig_init(struct rig *rig, uint64_t seed, uint64_t segment_size, uint32_t payload_max)
{
    memset(rig, 0, sizeof *rig);
    rig->random = seed;
    rig->payload_max = payload_max;
    rig->clock = 1000000000;
    rig->term = 1;
    rig->memory = files_memory_create(mix(seed + 1));
    rig->options = (struct journal_options){
        .files = files_memory_table(rig->memory),
        .segment_size = segment_size,
        .cluster_id = "cluster of tests",
        .clock_context = rig,
        .clock_ns = clock_ns,
        .random_context = rig,
        .random = random_bytes,
        .wake_writer = wake,
        .wake_preparer = wake,
        .wake_loop = wake,
    };
}

static void request_free(struct rig_request *request)
{
    free(request->entries);
    free(request->payloads);
    free(request);
}

void rig_abandon(struct rig *rig)
{
    if (rig->journal != NULL)
        journal_release(rig->journal);
    rig->journal = NULL;
    while (rig->requests != NULL) {
        struct rig_request *request = rig->requests;
        rig->requests = request->next;
        request_free(request);
    }
}

void rig_deinit(struct rig *rig)
{
    rig_abandon(rig);
    files_memory_destroy(rig->memory);
    rig->memory = NULL;
}

enum status rig_open(struct rig *rig)
{
    cr_assert_null(rig->journal);
    rig->failure = STATUS_OK;
    return journal_open(&rig->options, &rig->journal, &rig->damage, &rig->cut);
}

void rig_start(struct rig *rig)
{
    cr_assert_eq(journal_create(&rig->options), STATUS_OK);
    cr_assert_eq(rig_open(rig), STATUS_OK, "%s", rig->damage.text);
}

uint32_t rig_payload(const struct rig *rig, uint64_t index, uint64_t term, uint8_t *out)
{
    uint64_t state = mix(index * 1000003 + term);
    uint32_t size = (uint32_t)(state % (rig->payload_max + 1ull));
    if (rig->payload_fixed > 0)
        size = rig->payload_fixed;
    for (uint32_t i = 0; i < size; i += 8) {
        state += 0x9e3779b97f4a7c15ull;
        const uint64_t word = mix(state);
        memcpy(out + i, &word, size - i < 8 ? size - i : 8);
    }
    return size;
}

static void finished(struct journal_append *append, enum status status)
{
    struct rig_request *request = (struct rig_request *)append;
    struct rig *rig = request->rig;
    rig->callbacks++;
    if (status == STATUS_OK) {
        const uint64_t last = append->entries[append->entry_count - 1].index;
        cr_assert_eq(append->entries[0].index, rig->acknowledged + 1, "callbacks in order");
        rig->acknowledged = last;
    } else if (rig->failure == STATUS_OK) {
        rig->failure = status;
    }
    for (struct rig_request **at = &rig->requests; *at != NULL; at = &(*at)->next) {
        if (*at == request) {
            *at = request->next;
            break;
        }
    }
    request_free(request);
}

enum status rig_append(struct rig *rig, uint32_t count)
{
    cr_assert(rig->appended + count <= RIG_ENTRIES_MAX);
    struct rig_request *request = calloc(1, sizeof *request);
    request->rig = rig;
    request->entries = calloc(count, sizeof *request->entries);
    request->payloads = malloc((size_t)count * (rig->payload_max + 8ull));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *payload = request->payloads + (size_t)i * (rig->payload_max + 8ull);
        const uint64_t index = rig->appended + 1 + i;
        request->entries[i] = (struct journal_entry){
            .index = index,
            .term = rig->term,
            .type = (uint16_t)(JOURNAL_COMMAND + (index + rig->term) % 4),
            .size = rig_payload(rig, index, rig->term, payload),
            .payload = payload,
        };
    }
    request->append.entries = request->entries;
    request->append.entry_count = count;
    request->append.cb = finished;
    const enum status status = journal_append(rig->journal, &request->append);
    if (status != STATUS_OK) {
        request_free(request);
        return status;
    }
    request->next = rig->requests;
    rig->requests = request;
    for (uint32_t i = 0; i < count; i++)
        rig->terms[++rig->appended] = rig->term;
    return STATUS_OK;
}

enum job_state rig_step_writer(struct rig *rig)
{
    uint64_t wait;
    const enum job_state state = journal_writer_step(rig->journal, &wait);
    journal_process(rig->journal);
    return state;
}

enum job_state rig_step_preparer(struct rig *rig)
{
    uint64_t wait;
    return journal_preparer_step(rig->journal, &wait);
}

bool rig_run(struct rig *rig)
{
    enum job_state writer = JOB_AGAIN;
    enum job_state preparer = JOB_AGAIN;
    for (int i = 0; i < 100000 && (writer == JOB_AGAIN || preparer == JOB_AGAIN); i++) {
        preparer = rig_step_preparer(rig);
        writer = rig_step_writer(rig);
    }
    cr_assert(writer != JOB_AGAIN && preparer != JOB_AGAIN, "the jobs come to rest");
    return writer != JOB_FAILED && preparer != JOB_FAILED;
}

void rig_fill(struct rig *rig, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        enum status status = rig_append(rig, 1);
        if (status == STATUS_BUSY) {
            cr_assert(rig_run(rig));
            status = rig_append(rig, 1);
        }
        cr_assert_eq(status, STATUS_OK);
    }
    cr_assert(rig_run(rig));
    cr_assert_eq(rig->acknowledged, rig->appended);
}

bool rig_idle(struct rig *rig)
{
    rig->clock += JOURNAL_SEAL_AFTER_NS;
    return rig_run(rig);
}

void rig_stop(struct rig *rig)
{
    journal_stop(rig->journal);
    cr_assert(rig_run(rig));
    journal_close(rig->journal);
    rig->journal = NULL;
}

enum status rig_truncate(struct rig *rig, uint64_t index)
{
    /* From now on the old entries may be gone, whether or not the call comes back. */
    const uint64_t before = rig->acknowledged;
    if (rig->acknowledged >= index)
        rig->acknowledged = index - 1;
    const enum status status = journal_truncate_suffix(rig->journal, index);
    if (status == STATUS_OK) {
        rig->appended = index - 1;
        rig->term++;
    } else if (status == STATUS_BUSY || status == STATUS_READ_ONLY) {
        rig->acknowledged = before;
    }
    return status;
}

enum status rig_prune(struct rig *rig, uint64_t index)
{
    if (index > rig->pruned)
        rig->pruned = index;
    return journal_prune_prefix(rig->journal, index);
}

/* ---- comparing ---- */

struct comparison {
    const struct rig *rig;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint8_t *expected;
    uint64_t next;
    const char *wrong;
};

static bool compare_entry(void *context, const struct journal_entry *entry)
{
    struct comparison *c = context;
    if (entry->index != c->next++) {
        c->wrong = "entries come out of order";
        return false;
    }
    const uint64_t term = c->rig->terms[entry->index];
    if (entry->term != term) {
        c->wrong = "an entry has another term than was appended";
        return false;
    }
    const uint32_t size = rig_payload(c->rig, entry->index, term, c->expected);
    if (entry->size != size || (size > 0 && memcmp(entry->payload, c->expected, size) != 0) ||
        entry->type != JOURNAL_COMMAND + (entry->index + term) % 4) {
        c->wrong = "an entry's content differs from what was appended";
        return false;
    }
    /* The chain by its documented definition, without the journal's code. */
    const uint64_t numbers[3] = {entry->index, entry->term, entry->type};
    const struct hash_part parts[3] = {{c->head, sizeof c->head},
                                       {numbers, sizeof numbers},
                                       {entry->size > 0 ? entry->payload : "", entry->size}};
    hash_parts(parts, 3, c->head);
    return true;
}

static const char *compare(struct rig *rig, const struct journal_position *position)
{
    struct comparison c = {.rig = rig, .next = position->first_index};
    if (position->last_index < rig->acknowledged)
        return "an acknowledged entry is missing at the end";
    if (position->first_index > rig->pruned + 1)
        return "an entry that was not pruned is missing at the beginning";
    if (position->last_index > rig->appended)
        return "there are entries that nobody appended";
    if (position->synced_index != position->last_index)
        return "something is open that is not durable";
    if (journal_head(rig->journal, position->anchor_index, c.head) != STATUS_OK)
        return "the anchor's head cannot be read";
    c.expected = malloc(rig->payload_max + 8ull);
    const enum status status =
        journal_read(rig->journal, position->first_index, position->last_index, compare_entry, &c);
    free(c.expected);
    if (c.wrong != NULL)
        return c.wrong;
    if (status != STATUS_OK)
        return "entries cannot be read";
    if (c.next != position->last_index + 1)
        return "not all entries came";
    if (memcmp(c.head, position->head, sizeof c.head) != 0)
        return "the chain head is not the hash of the entries";
    return NULL;
}

const char *rig_check(struct rig *rig)
{
    struct journal_position position;
    journal_position(rig->journal, &position);
    const char *wrong = compare(rig, &position);
    if (wrong != NULL)
        return wrong;
    rig->appended = position.last_index;
    rig->acknowledged = position.last_index;
    if (position.last_index >= position.first_index)
        rig->term = position.last_term;
    rig->term++; /* as after an election: what is appended now differs from what was lost */
    return NULL;
}

/* ---- a life ---- */

static bool act(struct rig *rig)
{
    struct journal_position position;
    journal_position(rig->journal, &position);
    const uint64_t span = position.last_index + 1 - position.first_index;
    switch (rig_draw(rig) % 12) {
    case 0:
        return rig_idle(rig);
    case 1:
        if (!rig_run(rig))
            return false;
        if (span > 0) {
            const enum status status =
                rig_truncate(rig, position.last_index - rig_draw(rig) % (span < 5 ? span : 5));
            return status == STATUS_OK || status == STATUS_BUSY;
        }
        return true;
    case 2:
        return span < 20 ||
               rig_prune(rig, position.first_index + rig_draw(rig) % span) == STATUS_OK;
    case 3: {
        const uint64_t bytes[2] = {rig_draw(rig), rig_draw(rig)};
        journal_set_configuration(rig->journal, bytes, sizeof bytes);
        return true;
    }
    case 4:
        journal_stop(rig->journal);
        if (!rig_run(rig))
            return false;
        journal_close(rig->journal);
        rig->journal = NULL;
        return rig_open(rig) == STATUS_OK;
    case 5:
    case 6:
        for (uint64_t i = rig_draw(rig) % 4; i > 0; i--)
            if (rig_step_preparer(rig) == JOB_FAILED)
                return false;
        return true;
    default:
        break;
    }
    for (uint64_t i = rig_draw(rig) % 4 + 1; i > 0; i--) {
        const enum status status = rig_append(rig, (uint32_t)(rig_draw(rig) % 3) + 1);
        if (status == STATUS_BUSY && !rig_run(rig))
            return false;
        if (status != STATUS_OK && status != STATUS_BUSY)
            return false;
    }
    if (rig_draw(rig) % 3 == 0)
        return rig_run(rig);
    return rig_step_writer(rig) != JOB_FAILED;
}

void rig_live(struct rig *rig, int actions)
{
    for (int i = 0; i < actions && rig->journal != NULL; i++) {
        rig->clock += 1000;
        if (!act(rig))
            return;
    }
}
