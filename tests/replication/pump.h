/*
 * A node under test: its directory, its loop and its world.
 *
 * The loop is a plain function: sleep until woken or until node_wait_ms(), then node_process().
 * Every wait is bounded. With `manual` the jobs are stepped by the same function, single-threaded,
 * and the monotonic clock stands still except when a test moves it: nothing depends on time.
 */
#ifndef TALLY_TESTS_REPLICATION_PUMP_H
#define TALLY_TESTS_REPLICATION_PUMP_H

#include "replication/environment.h"
#include "replication/node/node.h"
#include "replication/node/node_jobs.h"
#include "tests/replication/faulty_disk.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* What the helpers themselves insist on: says it and aborts, under Criterion and in plain programs
 * alike (ThreadSanitizer and Criterion cannot share an address space). */
#define require(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define PUMP_PATH_MAX      512
#define PUMP_EVENTS_MAX    64
#define PUMP_WAIT_MS       20000
#define PUMP_SEGMENT_BYTES (2u << 20)

/* Principals of every test directory, by ordinal. */
enum { PRINCIPAL_SITE_OPERATOR, PRINCIPAL_BANK, PRINCIPAL_APP, PRINCIPAL_COUNT };

struct pump {
    /* ---- may be changed between pump_init and pump_open ---- */
    struct node_options options;
    bool manual;
    /* ---- to look at ---- */
    char root[PUMP_PATH_MAX];      /* removed by pump_deinit */
    char directory[PUMP_PATH_MAX]; /* root/data */
    struct node *node;             /* NULL when closed */
    struct node_error error;       /* of the last open or start */
    struct faulty_disk disk;
    /* ---- the world ---- */
    _Atomic uint64_t shift_ns; /* threads: added to the real monotonic clock */
    uint64_t monotonic_ns;     /* manual */
    int64_t wall_shift_ns;
    bool hold_writer, hold_flusher; /* manual: not stepped */
    /* ---- ours ---- */
    struct environment environment;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool woken;
    struct {
        char name[32];
        uint64_t count, a, b;
    } events[PUMP_EVENTS_MAX];
    uint32_t event_count;
};

/* A fresh root with an initialized data directory. */
void pump_init(struct pump *pump, bool manual);
/* The same, manual, for a node that joins a cluster; options->directory is ours. */
void pump_init_joiner(struct pump *pump, const struct node_init_options *options,
                      const uint8_t cluster_id[16]);
/* A pump for `directory` made otherwise (a copy): same options as `from`. */
void pump_init_copy(struct pump *pump, const struct pump *from, const char *copy_name,
                    bool without_store);
/* Closes (a failed or stopped node) and removes the root; a copy leaves its root to its origin. */
void pump_deinit(struct pump *pump);

struct node_init_options pump_init_options(const char *directory);

enum status pump_open(struct pump *pump);
/* Opens, starts and turns until the node serves; fails the test otherwise. */
void pump_serve(struct pump *pump);
void pump_turn(struct pump *pump);
/* Turns until `done` is true; false when it was not within PUMP_WAIT_MS. */
bool pump_until(struct pump *pump, bool (*done)(void *context), void *context);
bool pump_until_phase(struct pump *pump, enum node_phase phase);
/* Turns, manual time going on, until the journal's next segment is prepared. */
void pump_make_spare(struct pump *pump);
/* Drains to STOPPED and closes. */
void pump_stop(struct pump *pump);
/* Manual: the process ends at this moment. Nothing more reaches the journal; who waits is called
 * back, as nobody would be. */
void pump_kill(struct pump *pump);
/* Closes a stopped or failed node. */
void pump_close(struct pump *pump);

struct node_status pump_status(struct pump *pump);
uint64_t pump_event_count(struct pump *pump, const char *name);

/* "root/name" copied or removed with everything in it. */
void pump_copy_tree(const char *from, const char *to);
void pump_remove_tree(const char *path);

#endif
