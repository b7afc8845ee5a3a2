/* The journal as the node runs it: a loop, a writer and a preparer on threads of their own, on a
 * real directory. The only test with threads; it asserts outcomes, never timing. */
#include "storage/journal.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES   3000u
#define IN_FLIGHT 16u

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool ringing;
};

struct stage {
    struct journal *journal;
    struct bell writer, preparer, loop;
    pthread_t threads[2];
    uint64_t acknowledged;
    uint32_t in_flight;
};

static uint64_t clock_ns(void *context)
{
    (void)context;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void random_bytes(void *context, void *out, size_t size)
{
    static uint64_t counter = 77;
    (void)context;
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = (uint8_t)(++counter * 0x9e3779b97f4a7c15ull >> 56);
}

static void bell_init(struct bell *bell)
{
    cr_assert_eq(pthread_mutex_init(&bell->lock, NULL), 0);
    cr_assert_eq(pthread_cond_init(&bell->rung, NULL), 0);
    bell->ringing = false;
}

static void ring(struct bell *bell)
{
    pthread_mutex_lock(&bell->lock);
    bell->ringing = true;
    pthread_cond_signal(&bell->rung);
    pthread_mutex_unlock(&bell->lock);
}

static void wait_bell(struct bell *bell, uint64_t wait_ns)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    if (wait_ns > 100000000u)
        wait_ns = 100000000u; /* every wait is bounded */
    const uint64_t ns = (uint64_t)until.tv_nsec + wait_ns;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&bell->lock);
    while (!bell->ringing)
        if (pthread_cond_timedwait(&bell->rung, &bell->lock, &until) != 0)
            break;
    bell->ringing = false;
    pthread_mutex_unlock(&bell->lock);
}

static void wake_writer(void *context)
{
    ring(&((struct stage *)context)->writer);
}

static void wake_preparer(void *context)
{
    ring(&((struct stage *)context)->preparer);
}

static void wake_loop(void *context)
{
    ring(&((struct stage *)context)->loop);
}

static void *run(struct stage *stage, struct bell *bell,
                 enum job_state (*step)(struct journal *, uint64_t *))
{
    for (;;) {
        uint64_t wait;
        const enum job_state state = step(stage->journal, &wait);
        if (state == JOB_DONE || state == JOB_FAILED)
            return NULL;
        if (state == JOB_IDLE)
            wait_bell(bell, wait);
    }
}

static void *writer_thread(void *stage)
{
    return run(stage, &((struct stage *)stage)->writer, journal_writer_step);
}

static void *preparer_thread(void *stage)
{
    return run(stage, &((struct stage *)stage)->preparer, journal_preparer_step);
}

struct item {
    struct journal_append append;
    struct stage *stage;
    struct journal_entry entry;
    uint8_t payload[20000];
};

static uint32_t payload_size(uint64_t index)
{
    return (uint32_t)(index * 2654435761u % 20000u);
}

static void finished(struct journal_append *append, enum status status)
{
    struct item *item = (struct item *)append;
    cr_assert_eq(status, STATUS_OK);
    cr_assert_eq(item->entry.index, item->stage->acknowledged + 1);
    item->stage->acknowledged = item->entry.index;
    item->stage->in_flight--;
    free(item);
}

static bool compare(void *context, const struct journal_entry *entry)
{
    uint64_t *next = context;
    bool same = entry->index == *next && entry->size == payload_size(entry->index);
    for (uint32_t i = 0; same && i < entry->size; i++)
        same = ((const uint8_t *)entry->payload)[i] == (uint8_t)(entry->index + i);
    (*next)++;
    return same;
}

static void append_one(struct stage *stage, uint64_t index)
{
    struct item *item = calloc(1, sizeof *item);
    item->stage = stage;
    item->entry = (struct journal_entry){.index = index,
                                         .term = 1,
                                         .type = JOURNAL_COMMAND,
                                         .size = payload_size(index),
                                         .payload = item->payload};
    for (uint32_t i = 0; i < item->entry.size; i++)
        item->payload[i] = (uint8_t)(index + i);
    item->append.entries = &item->entry;
    item->append.entry_count = 1;
    item->append.cb = finished;
    enum status status;
    while ((status = journal_append(stage->journal, &item->append)) == STATUS_BUSY) {
        wait_bell(&stage->loop, 100000000u);
        journal_process(stage->journal);
    }
    cr_assert_eq(status, STATUS_OK);
    stage->in_flight++;
}

static bool remove_each(void *files, const char *name)
{
    return ((struct files *)files)->remove(((struct files *)files)->context, name) == STATUS_OK;
}

Test(journal_threads, a_loop_and_two_jobs_agree, .timeout = 120)
{
    char path[] = "/tmp/tally_journal_XXXXXX";
    cr_assert_not_null(mkdtemp(path));
    struct files files;
    cr_assert_eq(files_posix_open(path, &files), STATUS_OK);
    static struct stage stage;
    const struct journal_options options = {.files = &files,
                                            .segment_size = 1024 * 1024,
                                            .clock_ns = clock_ns,
                                            .random = random_bytes,
                                            .wake_context = &stage,
                                            .wake_writer = wake_writer,
                                            .wake_preparer = wake_preparer,
                                            .wake_loop = wake_loop};
    bell_init(&stage.writer);
    bell_init(&stage.preparer);
    bell_init(&stage.loop);
    cr_assert_eq(journal_create(&options), STATUS_OK);
    uint64_t index = 0;
    struct journal_damage damage;
    uint64_t cut;
    for (int life = 0; life < 2; life++) {
        cr_assert_eq(journal_open(&options, &stage.journal, &damage, &cut), STATUS_OK);
        cr_assert_eq(cut, 0);
        cr_assert_eq(pthread_create(&stage.threads[0], NULL, writer_thread, &stage), 0);
        cr_assert_eq(pthread_create(&stage.threads[1], NULL, preparer_thread, &stage), 0);
        for (uint32_t i = 0; i < ENTRIES / 2; i++) {
            append_one(&stage, ++index);
            while (stage.in_flight >= IN_FLIGHT) {
                wait_bell(&stage.loop, 100000000u);
                journal_process(stage.journal);
            }
            if (i % 500 == 499) {
                cr_assert_eq(journal_prune_prefix(stage.journal, stage.acknowledged / 2),
                             STATUS_OK);
                struct journal_position position;
                journal_position(stage.journal, &position);
                uint64_t next = position.first_index;
                cr_assert_eq(
                    journal_read(stage.journal, next, position.synced_index, compare, &next),
                    STATUS_OK);
                cr_assert_eq(next, position.synced_index + 1);
            }
        }
        journal_stop(stage.journal);
        cr_assert_eq(pthread_join(stage.threads[0], NULL), 0);
        cr_assert_eq(pthread_join(stage.threads[1], NULL), 0);
        journal_process(stage.journal);
        cr_assert_eq(stage.in_flight, 0);
        cr_assert_eq(stage.acknowledged, index);
        journal_close(stage.journal);
        struct journal_report report;
        cr_assert_eq(journal_verify(&files, &report, NULL, NULL), STATUS_OK);
        cr_assert_eq(report.damage.status, STATUS_OK, "%s", report.damage.text);
        cr_assert_eq(report.last_index, index);
        cr_assert_eq(report.torn_bytes, 0);
    }
    cr_assert_eq(files.list(files.context, remove_each, &files), STATUS_OK);
    files_posix_close(&files);
    cr_assert_eq(rmdir(path), 0);
}
