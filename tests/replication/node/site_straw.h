/*
 * Site operations over a consensus of straw: a table of members, a leader, a log of durability
 * entries, and a switch for each thing that can stand in the way. Time stands still unless a test
 * moves it.
 */
#ifndef TALLY_TESTS_SITE_STRAW_H
#define TALLY_TESTS_SITE_STRAW_H

#include "replication/node/site_operation.h"

#define MS   UINT64_C(1000000)
#define SELF 1

struct straw {
    struct consensus consensus; /* first */
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count;
    uint64_t leader, term, commit_index;
    bool changing, transferring, unready;
    uint64_t now_ns;
    uint32_t in_flight;
    const char *member_change;
    uint32_t transfers;
    uint64_t transferred_to;
    enum status transfer_status;
    /* What the nodes answer. */
    bool silent[MEMBERS_MAX + 1];
    uint32_t flags[MEMBERS_MAX + 1];
    uint64_t applied[MEMBERS_MAX + 1]; /* 0: everything */
    int64_t clock_ns[MEMBERS_MAX + 1]; /* ahead of ours */
    uint32_t asked;
    /* The log: newest durability entry, and how many of them are committed by a turn. */
    struct consensus_durability durability;
    bool commits;
    uint32_t proposals;
    enum status propose_status;
    const char *propose_text;
    struct site_operation operation;
    /* The end. */
    uint32_t ends;
    enum status status;
    struct site_report report;
    char text[512];
};

extern struct straw straw;

/* Voters with ids from 1 at the sites that the letters name; W is a witness. The first one leads.
 */
void straw_set_up(const char *sites);
/* A switchover to the site, by Ann. */
struct site_operation_request straw_request(const char *site);
enum status straw_begin(const struct site_operation_request *request);
void straw_turn(uint64_t ms);
/* What is in the log of durability entries is committed. */
void straw_commit(void);

#endif
