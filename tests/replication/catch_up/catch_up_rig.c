/* See the header. A connection is a queue per direction and lane; a cut empties it and is told to
 * both sides, as the transport's contract says. */
#include "tests/replication/catch_up/catch_up_rig.h"

#include "replication/message.h"
#include "replication/node/node.h"
#include "storage/hard_state.h"
#include "storage/store.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NS_PER_MS           1000000ull
#define QUEUE_MAX           64
#define RECONNECT_NS        (40 * NS_PER_MS)
#define LANES               TRANSPORT_LANE_COUNT
#define CLUSTER             "cluster-for-rig!"
#define LINK(r, a, b, lane) (&(r)->links[(((a)*RIG_SIDES) + (b)) * LANES + (lane)])

struct rig_message {
    size_t size;
    uint64_t *bytes;
};

struct rig_link {
    bool up;
    bool gone; /* stays down */
    uint64_t up_again_ns;
    uint32_t count;
    bool refused;
    struct rig_message queue[QUEUE_MAX];
};

uint64_t rig_draw(struct rig *rig, uint64_t bound)
{
    rig->seed = rig->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (rig->seed >> 33) % bound;
}

/* ---- world ---- */

static uint64_t rig_monotonic_ns(void *context)
{
    return ((struct rig_side *)context)->rig->now_ns;
}

static uint64_t rig_wall_ns(void *context)
{
    return 1700000000000000000ull + ((struct rig_side *)context)->rig->now_ns;
}

static void rig_random(void *context, void *out, size_t size)
{
    struct rig *rig = ((struct rig_side *)context)->rig;
    uint8_t *bytes = out;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)rig_draw(rig, 256);
}

static enum status rig_open_directory(void *context, const char *path, struct files *out)
{
    return faulty_disk_open(&((struct rig_side *)context)->disk, path, out);
}

static void rig_close_directory(void *context, struct files *files)
{
    (void)context;
    faulty_disk_close(files);
}

static void note_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct rig_side *side = context;
    if (getenv("RIG_TRACE") != NULL)
        fprintf(stderr, "%7.3f side %lu: %s: %s (%lu, %lu)\n", (double)side->rig->now_ns / 1e9,
                (unsigned long)side->id, name, text, (unsigned long)a, (unsigned long)b);
    if (strcmp(name, "catch_up_failed") == 0) {
        side->failures++;
        snprintf(side->last_failure, sizeof side->last_failure, "%s", text);
    }
}

static void no_fail(void *context, enum status status, const char *text)
{
    (void)context;
    cr_assert_fail("fail-stop: %d %s", status, text);
}

/* ---- transport ---- */

static void clear(struct rig_link *link)
{
    for (uint32_t i = 0; i < link->count; i++)
        free(link->queue[i].bytes);
    link->count = 0;
    link->refused = false;
}

static enum status rig_send(struct transport *transport, uint64_t to, enum transport_lane lane,
                            const struct transport_part *parts, uint32_t count)
{
    struct rig_side *side = (struct rig_side *)(void *)transport;
    struct rig_link *link = LINK(side->rig, side->id - 1, to - 1, lane);
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += parts[i].size;
    cr_assert_leq(size, TRANSPORT_MESSAGE_SIZE_MAX);
    cr_assert_eq(size % 8, 0);
    if (!link->up)
        return STATUS_UNAVAILABLE;
    if (link->count == QUEUE_MAX) {
        link->refused = true;
        return STATUS_BUSY;
    }
    struct rig_message *message = &link->queue[link->count++];
    message->size = size;
    message->bytes = malloc(size);
    size_t at = 0;
    for (uint32_t i = 0; i < count; at += parts[i].size, i++)
        memcpy((uint8_t *)message->bytes + at, parts[i].bytes, parts[i].size);
    return STATUS_OK;
}

static const struct transport_operations operations = {.send = rig_send};

static void set_link(struct rig *rig, uint32_t a, uint32_t b, enum transport_lane lane, bool up)
{
    for (int turn = 0; turn < 2; turn++) {
        struct rig_link *link = turn == 0 ? LINK(rig, a, b, lane) : LINK(rig, b, a, lane);
        clear(link);
        link->up = up;
        link->up_again_ns = rig->now_ns + RECONNECT_NS;
    }
    if (rig->sides[a].open)
        catch_up_link(rig->sides[a].catch_up, b + 1, lane, up);
    if (rig->sides[b].open)
        catch_up_link(rig->sides[b].catch_up, a + 1, lane, up);
}

void rig_cut(struct rig *rig, uint32_t a, uint32_t b, bool for_good)
{
    for (int lane = 0; lane < LANES; lane++) {
        LINK(rig, a, b, lane)->gone = LINK(rig, b, a, lane)->gone = for_good;
        if (LINK(rig, a, b, lane)->up)
            set_link(rig, a, b, (enum transport_lane)lane, false);
    }
}

void rig_connect_all(struct rig *rig)
{
    for (uint32_t a = 0; a < RIG_SIDES; a++)
        for (uint32_t b = a + 1; b < RIG_SIDES; b++)
            for (int lane = 0; lane < LANES; lane++) {
                LINK(rig, a, b, lane)->gone = LINK(rig, b, a, lane)->gone = false;
                if (rig->sides[a].open && rig->sides[b].open && !LINK(rig, a, b, lane)->up)
                    set_link(rig, a, b, (enum transport_lane)lane, true);
            }
}

static void reconnect(struct rig *rig)
{
    for (uint32_t a = 0; a < RIG_SIDES; a++)
        for (uint32_t b = a + 1; b < RIG_SIDES; b++)
            for (int lane = 0; lane < LANES; lane++) {
                struct rig_link *link = LINK(rig, a, b, lane);
                if (rig->sides[a].open && rig->sides[b].open && !link->up && !link->gone &&
                    rig->now_ns >= link->up_again_ns)
                    set_link(rig, a, b, (enum transport_lane)lane, true);
            }
}

static void deliver_first(struct rig *rig, uint32_t a, uint32_t b, enum transport_lane lane)
{
    struct rig_link *link = LINK(rig, a, b, lane);
    struct rig_side *to = &rig->sides[b];
    struct rig_message message = link->queue[0];
    link->count--;
    memmove(link->queue, link->queue + 1, link->count * sizeof link->queue[0]);
    if (lane == TRANSPORT_BULK) {
        if (rig->cut_chance > 0 && rig_draw(rig, 1000) < rig->cut_chance) {
            free(message.bytes);
            rig->cuts++;
            set_link(rig, a < b ? a : b, a < b ? b : a, lane, false);
            return;
        }
        if (rig->flip_chance > 0 && message.size > 1000 && rig_draw(rig, 1000) < rig->flip_chance) {
            ((uint8_t *)message.bytes)[200 + rig_draw(rig, message.size - 200)] ^=
                (uint8_t)(1 << rig_draw(rig, 8));
            rig->flips++;
        }
        to->bytes_received += message.size;
    }
    if (rig->before_delivery != NULL)
        rig->before_delivery(rig, to, (const uint8_t *)message.bytes, message.size);
    if (to->open)
        catch_up_receive(to->catch_up, a + 1, lane, message.bytes, message.size);
    free(message.bytes);
    if (link->refused && link->count < QUEUE_MAX / 2 && rig->sides[a].open) {
        link->refused = false;
        catch_up_writable(rig->sides[a].catch_up, b + 1, lane);
    }
}

/* ---- directories ---- */

static void path_in(const struct rig_side *side, const char *what, uint64_t number,
                    char out[RIG_PATH_MAX])
{
    char name[DIRECTORY_NAME_MAX];
    directory_generation_name(what, number, name);
    snprintf(out, RIG_PATH_MAX, "%.200s/%s", side->directory, name);
}

static void remove_tree(const char *path)
{
    DIR *stream = opendir(path);
    if (stream == NULL) {
        (void)unlink(path);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char inner[RIG_PATH_MAX * 2];
        snprintf(inner, sizeof inner, "%.250s/%.200s", path, entry->d_name);
        if (unlink(inner) != 0)
            remove_tree(inner);
    }
    closedir(stream);
    (void)rmdir(path);
}

static struct rig_side *set_up(struct rig *rig, uint32_t position, bool witness)
{
    struct rig_side *side = &rig->sides[position];
    *side = (struct rig_side){
        .transport.operations = &operations, .rig = rig, .id = position + 1, .witness = witness};
    char root[sizeof rig->root];
    memcpy(root, rig->root, sizeof root);
    snprintf(side->directory, sizeof side->directory, "%s/%u", root, position + 1);
    faulty_disk_init(&side->disk);
    side->environment = *environment_real();
    side->environment.context = side;
    side->environment.monotonic_ns = rig_monotonic_ns;
    side->environment.wall_ns = rig_wall_ns;
    side->environment.random = rig_random;
    side->environment.open_directory = rig_open_directory;
    side->environment.close_directory = rig_close_directory;
    side->environment.manual_jobs = true;
    side->notify = (struct notify){.context = side, .event = note_event, .fail = no_fail};
    side->exists = true;
    return side;
}

struct rig_side *rig_make(struct rig *rig, uint32_t position, bool witness)
{
    struct rig_side *side = set_up(rig, position, witness);
    struct node_init_options options = {
        .directory = side->directory,
        .journal_segment_size = RIG_SEGMENT_SIZE,
        .reserve_bytes = 4096,
        .node_id = side->id,
        .kind = witness ? MEMBER_WITNESS : MEMBER_DATA,
        .join = true,
        .environment = &side->environment,
    };
    memcpy(options.cluster_id, CLUSTER, 16);
    struct node_error error;
    cr_assert_eq(node_init(&options, &error), STATUS_OK, "%s", error.text);
    return side;
}

struct rig_side *rig_make_copy(struct rig *rig, uint32_t position, struct rig_side *from)
{
    struct rig_side *side = set_up(rig, position, from->witness);
    char command[2 * RIG_PATH_MAX + 32];
    cr_assert_not(from->open);
    snprintf(command, sizeof command, "cp -r %s %s", from->directory, side->directory);
    cr_assert_eq(system(command), 0);
    return side;
}

void rig_unmake(struct rig_side *side)
{
    if (side->open)
        rig_close(side);
    remove_tree(side->directory);
    side->exists = false;
}

void rig_init(struct rig *rig, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    rig->seed = seed * 0x9e3779b97f4a7c15ull + 1;
    rig->now_ns = 1000 * NS_PER_MS;
    rig->links = calloc((size_t)RIG_SIDES * RIG_SIDES * LANES, sizeof *rig->links);
    snprintf(rig->root, sizeof rig->root, "/tmp/tally-catch-up-XXXXXX");
    cr_assert_not_null(mkdtemp(rig->root));
}

void rig_deinit(struct rig *rig)
{
    for (uint32_t i = 0; i < RIG_SIDES; i++)
        if (rig->sides[i].open)
            rig_close(&rig->sides[i]);
    for (int i = 0; i < RIG_SIDES * RIG_SIDES * LANES; i++)
        clear(&rig->links[i]);
    free(rig->links);
    remove_tree(rig->root);
}

/* ---- open and closed ---- */

static void get_facts(void *context, struct catch_up_facts *out)
{
    const struct rig_side *side = context;
    *out = side->facts;
    if (side->facts.leads) {
        out->leader_id = side->id;
    } else if (side->rig->followed != NULL) {
        out->term = side->rig->followed->facts.term;
        out->leader_id = side->rig->followed->id;
    }
}

static void note_caught_up(void *context, uint64_t peer, uint64_t index)
{
    struct rig_side *side = context;
    if (index == 0)
        side->gave_up[peer]++;
    else if (index > side->caught_up[peer])
        side->caught_up[peer] = index;
}

/* What consensus does with them: they follow what is there, and a tail of ours that differs goes.
 */
static enum status take_entries(void *context, const struct catch_up_feed *feed)
{
    struct rig_side *side = context;
    const struct rig_side *leader = side->rig->followed;
    struct journal_position position;
    uint64_t term = 0;
    if (side->facts.leads || leader == NULL || leader->id != feed->from ||
        leader->facts.term != feed->term)
        return STATUS_NOT_READY;
    if (rig_draw(side->rig, 1000) < side->full_chance)
        return STATUS_BUSY;
    journal_position(side->journal, &position);
    if (feed->previous_index > position.last_index)
        return STATUS_NOT_FOUND;
    cr_assert_eq(journal_term(side->journal, feed->previous_index, &term), STATUS_OK);
    if (term != feed->previous_term)
        return STATUS_NOT_FOUND;
    uint32_t known = 0;
    for (; known < feed->count && feed->entries[known].index <= position.last_index; known++) {
        cr_assert_eq(journal_term(side->journal, feed->entries[known].index, &term), STATUS_OK);
        if (term == feed->entries[known].term)
            continue;
        const enum status status =
            journal_truncate_suffix(side->journal, feed->entries[known].index);
        side->failed = status != STATUS_OK; /* fail-stop: the test broke the disk */
        if (side->failed)
            return status;
        break;
    }
    for (uint32_t i = known; i < feed->count; i++) {
        const enum status status = journal_fill_append(side->fill, &feed->entries[i], 1);
        side->failed = status != STATUS_OK;
        if (side->failed)
            return status;
    }
    side->fed_entries += feed->count - known;
    side->fed_last = feed->entries[feed->count - 1].index;
    if (side->facts.commit_index < side->fed_last)
        side->facts.commit_index = side->fed_last;
    return STATUS_OK;
}

static void note_ready(void *context)
{
    ((struct rig_side *)context)->ready = true;
}

static void no_wake(void *context)
{
    (void)context;
}

static void open_store_of(struct rig_side *side)
{
    char path[RIG_PATH_MAX];
    path_in(side, DIRECTORY_STORE, side->generation.store, path);
    struct store_options options = {
        .path = path, .map_size_bytes = 1ull << 30, .bloom_bytes = 1 << 20};
    memcpy(options.cluster_id, CLUSTER, 16);
    struct store_error error = {{0}};
    cr_assert_eq(store_open(&options, &side->store, &error), STATUS_OK, "%s", error.text);
}

void rig_open(struct rig_side *side)
{
    char path[RIG_PATH_MAX];
    cr_assert_eq(faulty_disk_open(&side->disk, side->directory, &side->files), STATUS_OK);
    cr_assert_eq(current_read(&side->files, &side->generation), STATUS_OK);
    path_in(side, DIRECTORY_JOURNAL, side->generation.journal, path);
    cr_assert_eq(faulty_disk_open(&side->disk, path, &side->journal_files), STATUS_OK, "%s", path);
    struct journal_options options = {
        .files = &side->journal_files,
        .segment_size = RIG_SEGMENT_SIZE,
        .clock_context = side,
        .clock_ns = rig_monotonic_ns,
        .random_context = side,
        .random = rig_random,
    };
    memcpy(options.cluster_id, CLUSTER, 16);
    struct journal_damage damage = {0};
    cr_assert_eq(journal_fill_open(&options, &side->fill, &damage), STATUS_OK, "%s", damage.text);
    side->journal = journal_fill_journal(side->fill);
    if (!side->witness)
        open_store_of(side);
    struct catch_up_options catch_up = {
        .environment = &side->environment,
        .notify = &side->notify,
        .transport = &side->transport,
        .directory = side->directory,
        .files = &side->files,
        .generation = side->generation,
        .journal = side->journal,
        .store = side->store,
        .segment_size = RIG_SEGMENT_SIZE,
        .tail_bytes_max = side->tail_bytes_max,
        .ahead_bytes_max = side->ahead_bytes_max,
        .context = side,
        .wake_job = no_wake,
        .wake_loop = no_wake,
        .facts = get_facts,
        .caught_up = note_caught_up,
        .feed = take_entries,
        .ready = note_ready,
    };
    memcpy(catch_up.cluster_id, CLUSTER, 16);
    cr_assert_eq(catch_up_create(&catch_up, &side->catch_up), STATUS_OK);
    side->open = true;
    side->ready = false;
}

static void stop_job(struct rig_side *side)
{
    uint64_t wait_ns;
    catch_up_stop(side->catch_up);
    for (int i = 0; catch_up_job_step(side->catch_up, &wait_ns) != JOB_DONE; i++)
        cr_assert_lt(i, 10);
}

static void close_rest(struct rig_side *side)
{
    uint64_t wait_ns;
    catch_up_destroy(side->catch_up);
    side->catch_up = NULL;
    if (side->store != NULL) {
        checkpoint_stop(side->store);
        while (checkpoint_step(side->store, &wait_ns) != JOB_DONE)
            continue;
        checkpoint_close(side->store);
    }
    side->store = NULL;
    (void)journal_fill_close(side->fill, NULL); /* a test may have broken the disk */
    side->fill = NULL;
    side->journal = NULL;
    faulty_disk_close(&side->journal_files);
    side->open = false;
}

static void drop_connections(struct rig_side *side)
{
    for (uint32_t other = 0; other < RIG_SIDES; other++)
        for (int lane = 0; lane < LANES && other != side->id - 1; lane++)
            if (LINK(side->rig, side->id - 1, other, lane)->up)
                set_link(side->rig, (uint32_t)side->id - 1, other, (enum transport_lane)lane,
                         false);
}

void rig_close(struct rig_side *side)
{
    stop_job(side);
    close_rest(side);
    drop_connections(side);
    faulty_disk_close(&side->files);
}

bool rig_install(struct rig_side *side)
{
    struct catch_up_install install = {0};
    stop_job(side);
    const bool taken = catch_up_take(side->catch_up, &install);
    close_rest(side);
    drop_connections(side);
    if (taken)
        cr_assert_eq(catch_up_switch(&side->environment, &side->files, side->directory, &install),
                     STATUS_OK);
    faulty_disk_close(&side->files);
    rig_open(side);
    if (taken)
        catch_up_installed(side->catch_up, &install);
    return taken;
}

void rig_install_and_crash(struct rig_side *side)
{
    struct catch_up_install install = {0};
    stop_job(side);
    const bool taken = side->ready && catch_up_take(side->catch_up, &install);
    close_rest(side);
    drop_connections(side);
    if (taken)
        (void)catch_up_switch(&side->environment, &side->files, side->directory, &install);
    faulty_disk_close(&side->files);
}

/* ---- history ---- */

uint64_t rig_term(uint64_t index)
{
    return 1 + index / RIG_EPOCH_ENTRIES / 100;
}

#define BATCH 48

/* One call, one sync. */
static void append(struct rig_side *side, uint64_t last, uint64_t term, uint64_t salt)
{
    static uint64_t payloads[BATCH][60000];
    struct journal_entry entries[BATCH];
    struct journal_position position;
    journal_position(side->journal, &position);
    uint64_t index = position.last_index + 1;
    while (index <= last) {
        uint32_t count = 0;
        for (bool large = false; index <= last && count < BATCH && !large; index++, count++) {
            const uint64_t mixed = (index * 2654435761u + salt) * 0x9e3779b97f4a7c15ull;
            large = index % 40 == 0;
            entries[count] = (struct journal_entry){
                .index = index,
                .term = term > 0 ? term : rig_term(index),
                .type = index % 17 == 0 ? JOURNAL_BARRIER : JOURNAL_COMMAND,
                .size = (uint32_t)((mixed >> 40) % (large ? sizeof payloads[0] : 3000)),
                .payload = payloads[count],
            };
            for (uint32_t i = 0; i < entries[count].size / 8 + 1; i++)
                payloads[count][i] = mixed + i;
        }
        cr_assert_eq(journal_fill_append(side->fill, entries, count), STATUS_OK);
    }
}

void rig_append(struct rig_side *side, uint64_t last)
{
    append(side, last, 0, 0);
    if (side->facts.commit_index < last)
        side->facts.commit_index = last;
}

void rig_append_other(struct rig_side *side, uint64_t last, uint64_t term)
{
    append(side, last, term, 77);
}

struct epoch_maker *rig_maker(void)
{
    return epoch_maker_create(&(struct epoch_maker_options){.seed = 5, .base_accounts = 100});
}

static void note_epoch(void *context, enum status status, uint64_t durable_index)
{
    (void)durable_index;
    *(enum status *)context = status;
}

void rig_epoch(struct rig_side *side, struct epoch_maker *maker, uint32_t transfers)
{
    struct checkpoint_meta meta;
    const struct epoch_plan plan = {.transfers = transfers, .accounts = 3, .requests = 20};
    const struct epoch *epoch = epoch_maker_next(maker, &plan, &meta);
    cr_assert_eq(meta.term, rig_term(meta.index));
    cr_assert_eq(journal_head(side->journal, meta.index, meta.head), STATUS_OK);
    /* The configuration of consensus: an index, then the members. */
    meta.configuration_size = 16;
    memset(meta.configuration, 0, sizeof meta.configuration);
    meta.configuration[0] = 1;
    enum status status = STATUS_BUSY;
    uint64_t wait_ns;
    cr_assert_eq(checkpoint_submit(side->store, epoch, &meta, note_epoch, &status), STATUS_OK);
    (void)checkpoint_step(side->store, &wait_ns);
    checkpoint_process(side->store);
    cr_assert_eq(status, STATUS_OK);
}

/* ---- going ---- */

void rig_round(struct rig *rig)
{
    rig->now_ns += NS_PER_MS;
    reconnect(rig);
    for (uint32_t a = 0; a < RIG_SIDES; a++)
        for (uint32_t b = 0; b < RIG_SIDES; b++)
            for (int lane = 0; lane < LANES; lane++)
                if (LINK(rig, a, b, lane)->count > 0 && rig_draw(rig, 4) > 0)
                    deliver_first(rig, a, b, (enum transport_lane)lane);
    for (uint32_t i = 0; i < RIG_SIDES; i++) {
        struct rig_side *side = &rig->sides[i];
        uint64_t wait_ns;
        if (!side->open)
            continue;
        if (rig_draw(rig, 3) > 0)
            (void)catch_up_job_step(side->catch_up, &wait_ns);
        catch_up_process(side->catch_up);
        /* A timer in the past that process() did not act upon would spin the loop. */
        catch_up_process(side->catch_up);
        cr_assert_gt(catch_up_next_ns(side->catch_up), rig->now_ns, "side %lu spins",
                     (unsigned long)side->id);
    }
}

bool rig_until_ready(struct rig *rig, struct rig_side *leader, struct rig_side *side,
                     uint32_t rounds)
{
    rig->followed = leader;
    for (uint32_t i = 0; i < rounds && !side->ready; i++) {
        if (rig->now_ns - rig->offered_ns >= 1000 * NS_PER_MS) {
            catch_up_offer(leader->catch_up, side->id);
            rig->offered_ns = rig->now_ns;
        }
        rig_round(rig);
    }
    return side->ready;
}

bool rig_until_fed(struct rig *rig, struct rig_side *leader, struct rig_side *side, uint32_t rounds)
{
    const uint64_t *told = &leader->caught_up[side->id];
    for (uint32_t i = 0; i < rounds && *told < leader->facts.log_first_index; i++) {
        if (rig_until_ready(rig, leader, side, 1))
            (void)rig_install(side);
    }
    if (*told < leader->facts.log_first_index)
        return false;
    struct journal_position position;
    journal_position(side->journal, &position);
    cr_assert_geq(position.last_index, *told);
    if (position.last_index < leader->facts.commit_index) {
        side->fed_entries += leader->facts.commit_index - position.last_index;
        rig_append(side, leader->facts.commit_index);
    }
    return true;
}

/* ---- looking ---- */

void rig_assert_same(struct rig_side *side, struct rig_side *other, uint64_t last)
{
    struct journal_position position, others;
    journal_position(side->journal, &position);
    journal_position(other->journal, &others);
    cr_assert_geq(position.last_index, last);
    uint64_t index =
        position.anchor_index > others.anchor_index ? position.anchor_index : others.anchor_index;
    for (; index <= last; index++) {
        uint8_t a[JOURNAL_HASH_SIZE], b[JOURNAL_HASH_SIZE];
        cr_assert_eq(journal_head(side->journal, index, a), STATUS_OK);
        cr_assert_eq(journal_head(other->journal, index, b), STATUS_OK);
        cr_assert_arr_eq(a, b, sizeof a, "at %lu", (unsigned long)index);
    }
    if (side->witness)
        return;
    struct checkpoint_meta meta = {0};
    if (checkpoint_meta(side->store, &meta) != STATUS_OK)
        meta = (struct checkpoint_meta){0};
    cr_assert_leq(position.anchor_index, meta.index);
    cr_assert_leq(meta.index, position.last_index);
    uint8_t head[JOURNAL_HASH_SIZE];
    cr_assert_eq(journal_head(side->journal, meta.index, head), STATUS_OK);
    cr_assert_arr_eq(head, meta.head, sizeof head);
}

uint32_t rig_count_directories(const struct rig_side *side)
{
    DIR *stream = opendir(side->directory);
    cr_assert_not_null(stream);
    uint32_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        uint64_t number;
        count += directory_generation_parse(DIRECTORY_JOURNAL, entry->d_name, &number) ||
                 directory_generation_parse(DIRECTORY_STORE, entry->d_name, &number);
    }
    closedir(stream);
    return count;
}
