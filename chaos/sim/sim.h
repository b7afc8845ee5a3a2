/*
 * One simulated cluster: hosts, network, clients, faults, judgement, all of it from one seed.
 */
#ifndef TALLY_CHAOS_SIM_SIM_H
#define TALLY_CHAOS_SIM_SIM_H

#include "chaos/sim/aftermath.h"
#include "chaos/sim/certificate_checks.h"
#include "chaos/sim/client.h"
#include "chaos/sim/commit_checks.h"
#include "chaos/sim/desks.h"
#include "chaos/sim/exam.h"
#include "chaos/sim/host.h"
#include "chaos/sim/invariants.h"
#include "chaos/sim/members.h"
#include "chaos/sim/nemesis.h"
#include "chaos/sim/network.h"
#include "chaos/sim/next_day.h"
#include "chaos/sim/old_images.h"
#include "chaos/sim/oracle.h"
#include "chaos/sim/rule_checks.h"
#include "chaos/sim/witness_checks.h"
#include "chaos/sim/world.h"

/* Planted faults: what the simulator has to find. */
enum sim_plant {
    PLANT_NONE,
    PLANT_REPLY_BEFORE_COMMIT,
    PLANT_REQUEST_WINDOW_OFF,
    PLANT_SYNC_OFF,
    PLANT_FOLLOWERS_MODE,   /* a follower takes its own commit for what both sites have */
    PLANT_EARLY_RETURN,     /* SYNC again long before the other site has caught up */
    PLANT_CERTIFICATE_HIGH, /* the index of a certificate is one too high */
};

struct sim_options {
    uint64_t seed;
    uint32_t site_nodes[2]; /* data nodes at site A and B */
    bool witness;
    uint64_t seconds;
    bool verbose;
    uint32_t ring_count; /* newest notes kept as text */
    bool no_faults;
    enum sim_plant plant;
    uint64_t guard_off;     /* bits of the guard\'s repairs that are switched off */
    bool ignore_witness;    /* that is ahead is no violation */
    uint64_t without;       /* bits of enum nemesis_kind */
    const uint64_t *chosen; /* only the faults with these numbers; NULL: all */
    uint32_t chosen_count;
    bool story;        /* it is told to the end, to stdout */
    uint64_t think_ms; /* of a client between operations, on average; 0: drawn */
};

struct sim_result {
    bool violated;
    char violation[512];
    uint64_t hash;
    uint64_t virtual_ns;
    uint64_t events, turns, messages;
    uint64_t commits, elections;
    uint64_t requests, answers, repeats, reads, lookups, fences, unknown, transfers;
    uint64_t longest_ns; /* of a client's operation */
    uint64_t settle_ns;  /* from the end of faults and load until all is as it should be */
    uint64_t starts, kills, power_losses, fail_stops;
    uint64_t pause_ns; /* of the exam at the end */
    bool leader_lost;  /* in it */
    uint64_t certificates;
    /* Of leaders: commits that were held against what they knew, those that came later than that,
     * and how much. */
    uint64_t commits_judged, commits_waited, commit_longest_ns;
    uint64_t nights;
    uint64_t verdicts[3], losses;                           /* of the aftermath, by enum verdict */
    uint64_t steps, one_sided, degrades, returns, policies; /* of the durability rule */
    uint64_t faults[NEMESIS_KIND_COUNT];
    uint64_t fault_count; /* numbers that were given to faults */
    uint64_t began_ns;    /* when faults could begin */
    uint64_t violated_ns;
    uint64_t late_messages, failed_calls, abandoned, settled, burst, too_old;
    uint64_t library_calls, library_unknown, library_refused;
    uint64_t moves, moves_refused; /* of sites */
    uint64_t damages_found, damages_unnoticed, damages_left_out;
    uint64_t put_back, put_back_noticed; /* all disks, at the end */
};

struct sim {
    struct sim_options options;
    struct world world;
    struct network network;
    struct host hosts[HOSTS_MAX];
    uint32_t host_count;
    struct oracle oracle;
    struct clients clients;
    struct desks desks;
    struct members members;
    struct operators operators;
    struct exam exam;
    struct next_day next_day;
    struct aftermath aftermath;
    struct old_images old_images;
    struct nemesis nemesis;
    struct invariants invariants;
    struct rule_checks rule_checks;
    struct certificate_checks certificate_checks;
    struct witness_checks witness_checks;
    struct commit_checks commit_checks;
    uint64_t settle_ns, began_ns;
};

/* Runs one seed to its end or to its first violation. */
void sim_run(const struct sim_options *options, struct sim_result *out);
/* As "1", "1+1+1", "2+2+1"; false when it is none of the kind. */
bool sim_topology(const char *text, struct sim_options *out);

#endif
