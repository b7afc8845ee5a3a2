/*
 * Faults by seed: which, where, for how long. Begun at random moments until nemesis_end(), which
 * heals the world.
 *
 * Every fault has a number and draws from a stream of its own, so that a run can leave some of them
 * out (`chosen`) and the others stay what they were: which is how a failing seed is made short
 * (shrink.h).
 */
#ifndef TALLY_CHAOS_SIM_NEMESIS_H
#define TALLY_CHAOS_SIM_NEMESIS_H

#include "chaos/sim/host.h"
#include "chaos/sim/members.h"
#include "chaos/sim/operators.h"

struct clients;
struct desks;

enum nemesis_kind {
    NEMESIS_KILL,       /* a process dies */
    NEMESIS_DRAIN,      /* a process is stopped in good order */
    NEMESIS_KILL_MANY,  /* several at once */
    NEMESIS_POWER,      /* a machine loses power */
    NEMESIS_POWER_MANY, /* several, perhaps all */
    NEMESIS_HALT,       /* a process dies at one of its next calls to the disk */
    NEMESIS_PAUSE,      /* SIGSTOP, a paused machine */
    NEMESIS_STUCK,      /* the disk does not answer for a while */
    NEMESIS_SLOW,       /* the disk is slow */
    NEMESIS_FULL,       /* the disk is full */
    NEMESIS_DISK_ERROR, /* a call fails */
    NEMESIS_CLOCK,      /* a wall clock jumps */
    NEMESIS_CUT_HOST,   /* nobody reaches a host, silently */
    NEMESIS_CUT_SITE,   /* nobody elsewhere reaches a site, silently */
    NEMESIS_CUT_ONE_WAY,
    NEMESIS_FLAP,       /* a link comes and goes */
    NEMESIS_RESET,      /* connections break */
    NEMESIS_SLOW_NET,   /* latency rises */
    NEMESIS_TRANSFER,   /* leadership is handed to somebody */
    NEMESIS_WIPE,       /* a disk is lost; the node comes back under a new id */
    NEMESIS_SITE,       /* all data nodes of a site die, and stay away for a while */
    NEMESIS_LINK,       /* the sites do not reach each other; both see the witness */
    NEMESIS_FLAP_LINK,  /* the link between the sites comes and goes */
    NEMESIS_WITNESS,    /* the witness is gone: dead, or out of reach */
    NEMESIS_STUCK_SITE, /* all disks of a site do not answer for a while */
    NEMESIS_OPERATOR,   /* somebody degrades, returns, changes the policy */
    /* ---- half of the seeds have none of these ---- */
    NEMESIS_LOSS,      /* packets are lost */
    NEMESIS_REORDER,   /* lanes and pairs overtake each other */
    NEMESIS_DUPLICATE, /* a connection is made again while the old one still delivers */
    NEMESIS_CUT_PAIRS, /* some pairs do not reach each other: no clean sides */
    NEMESIS_SLOW_LINK, /* few bytes a second */
    NEMESIS_IO_ERRORS, /* reads and writes fail now and then, for a while */
    NEMESIS_ROT,       /* bits change in a file at rest */
    NEMESIS_MISDIRECT, /* a write lands somewhere else */
    NEMESIS_ROLLBACK,  /* a disk is put back to an old image */
    NEMESIS_DRIFT,     /* clocks run too fast or too slowly */
    NEMESIS_BURST,     /* far more requests at once than are taken */
    NEMESIS_SITE_MOVE, /* switchover, drain, resume, as an operator asks for them */
    /* ---- habits, for the whole run: they are no events ---- */
    NEMESIS_ABANDON,      /* clients that give up and never ask again */
    NEMESIS_SKEW,         /* clients whose clocks are wrong */
    NEMESIS_LIBRARY,      /* clients that do what the client library says */
    NEMESIS_ROLLBACK_ALL, /* at the very end all disks are put back to old images */
    NEMESIS_NEXT_DAY,     /* at the end a night passes, and old requests are repeated */
    NEMESIS_KIND_COUNT,
};

/* One disk that does not keep what it was given, and nothing else wrong anywhere meanwhile. */
struct nemesis_damage {
    enum {
        DAMAGE_NONE,
        DAMAGE_CALMING,   /* other faults are ended, and the cluster is to settle */
        DAMAGE_COMING,    /* an image is old enough, or a write goes astray, later */
        DAMAGE_WATCHED,   /* it is there: the node finds it, or is none the worse for it */
        DAMAGE_REPAIRING, /* the operator replaces the node */
    } state;
    enum nemesis_kind kind;
    uint32_t host;
    uint64_t number; /* of the fault */
    uint64_t until_ns;
    uint64_t fail_stops; /* of the host before */
    bool found;
    struct disk_image *image;
    uint64_t found_total, unnoticed_total, given_up_total;
};

struct nemesis {
    /* ---- filled in before nemesis_init ---- */
    struct world *world;
    struct network *network;
    struct host *hosts;
    uint32_t host_count;
    struct members *members;
    struct operators *operators;
    struct clients *clients;
    struct desks *desks;
    const uint64_t *chosen; /* NULL: all; otherwise the faults with these numbers, rising */
    uint32_t chosen_count;
    /* ---- ours ---- */
    struct draw schedule; /* when, and which */
    struct draw draw;     /* of the fault that acts now */
    uint64_t number;      /* of that fault, from 1; at the end: how many there were */
    uint64_t pause_ns;    /* between two faults, on average */
    uint64_t enabled;     /* bits of kinds */
    bool ended;
    uint64_t round; /* +1 when all is healed: what was planned is stale */
    uint64_t latency_ns[HOSTS_MAX][HOSTS_MAX]; /* of the network on a good day */
    struct nemesis_damage damage;
    uint64_t total[NEMESIS_KIND_COUNT];
};

const char *nemesis_name(enum nemesis_kind kind);
/* One line about the kind, for people. */
const char *nemesis_words(enum nemesis_kind kind);

/* `without`: bits of kinds that are left out. */
void nemesis_init(struct nemesis *nemesis, uint64_t without);
void nemesis_deinit(struct nemesis *nemesis);
void nemesis_start(struct nemesis *nemesis);
/* Whether a habit is on in this run. */
bool nemesis_has(const struct nemesis *nemesis, enum nemesis_kind kind);
/* Ends what was begun, and starts everybody; faults may begin again. */
void nemesis_heal(struct nemesis *nemesis);
/* All faults are over: everything is healed and started. */
void nemesis_end(struct nemesis *nemesis);

#endif
