/*
 * After a loss: what is proven about what was acknowledged, from what survived. Pure; the facts
 * come from certificate_survivor.h.
 */
#ifndef TALLY_REPLICATION_CERTIFICATE_VERDICT_H
#define TALLY_REPLICATION_CERTIFICATE_VERDICT_H

#include "replication/node/certificate_survivor.h"

/* How far a leader's clock and that of who names the time of a loss may be apart; the cluster's own
 * bound (clock_skew_max_ms). Added to every number of seconds. */
#define VERDICT_CLOCK_MARGIN_NS 500000000ull

enum verdict {
    VERDICT_PROVEN_ZERO, /* everything that was ever acknowledged is in the survivors' journals */
    VERDICT_BOUNDED_BY_TIME, /* everything acknowledged before a certain moment is */
    VERDICT_UNKNOWN,
};

enum verdict_basis {
    VERDICT_BY_NOTHING,
    VERDICT_BY_MAJORITY,    /* the survivors could elect a leader by themselves */
    VERDICT_BY_POLICY,      /* never degraded, and a whole site is here */
    VERDICT_BY_CERTIFICATE, /* of a leader */
    VERDICT_BY_JOURNAL,     /* without a certificate: its committed stamps */
};

struct verdict_question {
    const struct survivor *survivors;
    uint32_t count;
    const char *lost_site; /* NULL: not said */
    uint64_t lost_at_ns;   /* asserted; 0: not said */
};

struct verdict_answer {
    enum verdict verdict;
    enum verdict_basis basis;
    const struct survivor *best;  /* whose journal holds the most; NULL: none is sound */
    const struct survivor *proof; /* whose certificate counts; NULL: none does */
    uint64_t known_index; /* everything acknowledged at known_ns is at or below; 0: unknown */
    uint64_t known_ns;
    uint64_t unproven_ns; /* BOUNDED_BY_TIME: from then to the asserted time, margin included */
    uint64_t missing;     /* at least so many committed entries are in no journal here; 0: not known
                           * of any */
    bool damaged;         /* something presented is damaged, forged or contradicts the rest */
    char text[512];       /* why, and what would prove more */
};

/* STATUS_OK; STATUS_WRONG_CLUSTER: the survivors are not of one cluster and epoch, STATUS_EXISTS:
 * one node is there twice; words in out->text. */
enum status certificate_judge(const struct verdict_question *question, struct verdict_answer *out);

const char *verdict_name(enum verdict verdict);           /* "PROVEN_ZERO" */
const char *verdict_basis_name(enum verdict_basis basis); /* "majority" */

#endif
