/*
 * A few nodes reduced to what catch-up touches: a data directory, a journal, a store, and
 * connections that a test cuts. One thread, a clock that moves by steps, chance from a seed.
 */
#ifndef TALLY_TESTS_REPLICATION_CATCH_UP_RIG_H
#define TALLY_TESTS_REPLICATION_CATCH_UP_RIG_H

#include "replication/catch_up/catch_up.h"
#include "storage/journal_fill.h"
#include "tests/replication/faulty_disk.h"
#include "tests/storage/epoch_maker.h"

#define RIG_SIDES        3
#define RIG_PATH_MAX     256
#define RIG_SEGMENT_SIZE (2u << 20)
/* Entries between two epochs of the maker. */
#define RIG_EPOCH_ENTRIES 10

struct rig_link;

struct rig_side {
    struct transport transport; /* first */
    struct rig *rig;
    uint64_t id; /* position + 1 */
    bool exists, open;
    bool witness;
    uint64_t tail_bytes_max; /* before rig_open */
    char directory[RIG_PATH_MAX];
    struct faulty_disk disk;
    struct environment environment;
    struct notify notify;
    /* ---- open ---- */
    struct files files, journal_files;
    struct generation generation;
    struct journal_fill *fill;
    struct journal *journal;
    struct checkpoint *store;
    struct catch_up *catch_up;
    /* ---- what consensus would know ---- */
    struct catch_up_facts facts;
    uint64_t ahead_bytes_max;
    uint32_t full_chance; /* out of 1000: there is no room for entries at this moment */
    /* ---- what came of it ---- */
    bool ready, failed;
    uint64_t caught_up[RIG_SIDES + 1]; /* by peer: highest index told */
    uint64_t gave_up[RIG_SIDES + 1];
    char last_failure[256];
    uint32_t failures;
    uint64_t bytes_received; /* on BULK */
    uint64_t fed_entries;    /* taken into the journal in use, in the end from memory, too */
    uint64_t fed_last;
};

struct rig {
    char root[64];
    uint64_t seed;
    uint64_t now_ns, offered_ns;
    struct rig_side sides[RIG_SIDES];
    const struct rig_side *followed; /* by all that do not lead themselves; NULL: nobody */
    struct rig_link *links;          /* [from][to][lane] */
    /* Chance per message on BULK, out of 1000: the connection is cut; a bit of it is flipped. */
    uint32_t cut_chance, flip_chance;
    uint32_t cuts, flips;
    /* Calls before each message is delivered; may be NULL. */
    void (*before_delivery)(struct rig *rig, struct rig_side *to, const uint8_t *bytes,
                            size_t size);
};

void rig_init(struct rig *rig, uint64_t seed);
void rig_deinit(struct rig *rig);
uint64_t rig_draw(struct rig *rig, uint64_t bound);

/* A fresh directory: identity of a joiner, empty journal, empty store (a witness has none). */
struct rig_side *rig_make(struct rig *rig, uint32_t position, bool witness);
/* The directory of `from`, closed, once more. */
struct rig_side *rig_make_copy(struct rig *rig, uint32_t position, struct rig_side *from);
void rig_open(struct rig_side *side);
void rig_close(struct rig_side *side);
/* Removes everything of it. */
void rig_unmake(struct rig_side *side);

/* Entries of the one true history, up to `last`; its terms are a function of the index. */
void rig_append(struct rig_side *side, uint64_t last);
/* Entries of another history, of `term`. */
void rig_append_other(struct rig_side *side, uint64_t last, uint64_t term);
uint64_t rig_term(uint64_t index);
/* One epoch of the maker (transfers), whose index the journal must have. */
void rig_epoch(struct rig_side *side, struct epoch_maker *maker, uint32_t transfers);
struct epoch_maker *rig_maker(void);

/* Everybody is connected with everybody, or `peer` with nobody. */
void rig_connect_all(struct rig *rig);
void rig_cut(struct rig *rig, uint32_t a, uint32_t b, bool for_good);
/* One round: deliver, jobs, timers; the clock moves by a millisecond. */
void rig_round(struct rig *rig);
/* Rounds until `side` is ready or `rounds` are over; `leader` offers once a second. */
bool rig_until_ready(struct rig *rig, struct rig_side *leader, struct rig_side *side,
                     uint32_t rounds);

/* The same until `leader` was told that `side` has what its log in memory begins with, from where
 * it sends what it has committed; what becomes ready is installed. */
bool rig_until_fed(struct rig *rig, struct rig_side *leader, struct rig_side *side,
                   uint32_t rounds);

/* What the node does when it is ready: closes, changes over, opens again. False: catch_up_take()
 * refused, opened again as it was. */
bool rig_install(struct rig_side *side);
/* The same, but ends after the switch, or where it failed; opened by nobody. */
void rig_install_and_crash(struct rig_side *side);

/* The side's journal and store fit together, and hold the same history as `other` up to `last`. */
void rig_assert_same(struct rig_side *side, struct rig_side *other, uint64_t last);
/* Directories of journals and stores in the data directory. */
uint32_t rig_count_directories(const struct rig_side *side);

#endif
