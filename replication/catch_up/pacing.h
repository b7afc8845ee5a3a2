/*
 * A leader and a member that catches up share what there is: both ways of giving way, in one place.
 *
 * How much the leader admits: as much as ever as long as the member comes nearer, less when it does
 * not, never less than PACING_FLOOR_PERCENT of what went through before, and for a bounded time.
 * How fast it reads to the member: as fast as it may, and slower when clients are held up by that.
 * Pure: time and figures come in, a budget and a speed come out.
 *
 *   OFF ──the gap does not close──► ON ──it closes fast enough──► ON, as it is
 *    ▲                              │ └─it does not──► ON, a step less, down to the floor
 *    ├──limit is back, by steps ◄───┤ the member has what it lacked, or gave up
 *    └──at once ◄── GAVE UP ◄───────┘ at the floor for PACING_GIVE_UP_S without getting nearer
 *
 * docs/catch-up.md says why, and what it is bounded by.
 */
#ifndef TALLY_REPLICATION_CATCH_UP_PACING_H
#define TALLY_REPLICATION_CATCH_UP_PACING_H

#include <stdbool.h>
#include <stdint.h>

/* Of the throughput measured before, in bytes of entries per second. */
#define PACING_FLOOR_PERCENT 78
/* Below this rate nothing is held back: it is not what keeps a member from catching up. */
#define PACING_FLOOR_BYTES (4ull << 20)
/* One step down, or back up, each second. */
#define PACING_STEP_PERCENT 4
/* The gap closes fast enough when it will be gone in this time. */
#define PACING_HORIZON_S 60
/* So little is no gap: it is on its way. */
#define PACING_CLOSED_BYTES (2ull << 20)
/* At the floor for so long without getting nearer: less would not help, this does not either. */
#define PACING_GIVE_UP_S 60

/* What members are read, bytes per second over all of them: at most, ... */
#define PACING_READ_MAX (96ull << 20)
/* ... at least, while a store is copied, ... */
#define PACING_READ_MIN (32ull << 20)
/* ... and at least, of what the leader proposes, while entries are read: or it would never end. */
#define PACING_READ_MIN_PERCENT 125
/* Clients are held up when less than this goes through of what did before, ... */
#define PACING_HARM_PERCENT 80
/* ... though something was in flight for this part of the time. */
#define PACING_BUSY_PERCENT 80

struct pacing_input {
    uint64_t now_ns;         /* monotonic */
    uint64_t proposed_bytes; /* ever, by this node */
    bool whole;              /* all other members take part: nobody is away */
    bool serves;             /* a member is being brought up to date, at whatever stage */
    bool feeds; /* one is read entries: gap_bytes is what it lacks of those committed */
    uint64_t gap_bytes;
};

enum pacing_news {
    PACING_NOTHING,
    PACING_BEGAN,   /* less is admitted from now on */
    PACING_ENDED,   /* everything is admitted again */
    PACING_GAVE_UP, /* likewise, though the member does not get nearer: people have to decide */
};

#define PACING_GAPS 4

struct pacing {
    bool limited;
    uint64_t limit;     /* bytes per second, while limited */
    uint64_t reference; /* what the floor is measured by, while limited */
    uint64_t usual;     /* bytes per second of a whole cluster, smoothed; 0: never seen */
    uint64_t lately;    /* bytes per second when nobody catches up, smoothed */
    uint64_t read_rate; /* bytes per second that members are read; 0: not looked yet */
    /* ---- ours ---- */
    bool begun, gave_up;
    uint64_t looked_ns, proposed_bytes;
    uint64_t served_ns;         /* when somebody was being brought up to date last; 0 = never */
    uint64_t noted_ns, busy_ns; /* since the last look something was in flight for so long */
    bool busy;
    uint64_t gaps[PACING_GAPS]; /* at the last looks, the newest first */
    uint32_t gap_count;
    uint64_t best_gap, best_ns;
    uint64_t budget, budget_ns; /* what may be proposed at that moment */
    uint64_t debt;
};

/* True when pacing_look() has something to do: once a second. */
bool pacing_is_due(const struct pacing *pacing, uint64_t now_ns);
enum pacing_news pacing_look(struct pacing *pacing, const struct pacing_input *input);
/* We do not lead any more: what was measured is of another time. */
void pacing_forget(struct pacing *pacing);

/* Each turn: whether something is in flight from now on. */
void pacing_note(struct pacing *pacing, uint64_t now_ns, bool in_flight);
/* Bytes per second. */
uint64_t pacing_read_rate(const struct pacing *pacing);

/* Bytes that may be proposed now; UINT64_MAX = without a limit. An entry is let through when it is
 * not 0, and what it is more than that is held against the next ones. */
uint64_t pacing_budget(struct pacing *pacing, uint64_t now_ns);
void pacing_spend(struct pacing *pacing, uint64_t bytes);

/* Bytes per second; never less is admitted. Only while limited. */
uint64_t pacing_floor(const struct pacing *pacing);

#endif
