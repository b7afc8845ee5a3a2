/*
 * Faults by seed: which, where, for how long. Begun at random moments until nemesis_end(), which
 * heals the world.
 */
#ifndef TALLY_CHAOS_SIM_NEMESIS_H
#define TALLY_CHAOS_SIM_NEMESIS_H

#include "chaos/sim/host.h"
#include "chaos/sim/members.h"
#include "chaos/sim/operators.h"

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
    NEMESIS_KIND_COUNT,
};

struct nemesis {
    /* ---- filled in before nemesis_init ---- */
    struct world *world;
    struct network *network;
    struct host *hosts;
    uint32_t host_count;
    struct members *members;
    struct operators *operators;
    /* ---- ours ---- */
    struct draw draw;
    uint64_t pause_ns; /* between two faults, on average */
    uint32_t enabled;  /* bits of kinds */
    bool ended;
    uint64_t round;                            /* +1 at the end: what was planned is stale */
    uint64_t latency_ns[HOSTS_MAX][HOSTS_MAX]; /* of the network on a good day */
    uint64_t total[NEMESIS_KIND_COUNT];
};

const char *nemesis_name(enum nemesis_kind kind);

void nemesis_init(struct nemesis *nemesis);
void nemesis_start(struct nemesis *nemesis);
/* All faults are over: everything is healed and started. */
void nemesis_end(struct nemesis *nemesis);

#endif
