/*
 * What the files of `tally observe` share: a run, its sites, the record of each request, and
 * events.
 *
 *   observe.c          options, canary accounts, the end of a run
 *   observe_run.c      the engine: when a canary is sent, repeated, given up
 *   observe_ask.c      what became of the unknown ones
 *   observe_message.c  bytes: requests out, answers in
 *   observe_watch.c    what changed meanwhile: leader, rule, marks from outside
 *   observe_record.c   records and events, bounded
 *   observe_summary.c  pauses, latencies, counts: pure, computed from the records
 *   observe_text.c     the live line and the summary for people
 *   observe_file.c     the JSON file and the HTML page (observe_page.html)
 *
 * Times are ns since the run began, by the monotonic clock, unless a name says wall.
 */
#ifndef TALLY_CLIENT_CLI_OBSERVE_H
#define TALLY_CLIENT_CLI_OBSERVE_H

#include "client/tally.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OBSERVE_SITES_MAX     4
#define OBSERVE_SERVERS_MAX   16 /* of all sites together */
#define OBSERVE_EVENTS_MAX    4096
#define OBSERVE_TEXT_SIZE     200
#define OBSERVE_IN_FLIGHT_MAX 4096 /* of one site */
/* A pause is worth a line of its own from here on. */
#define OBSERVE_PAUSE_NOTED_NS 100000000ull

/* How a canary ended. The first two are passing. Everything but NOT_SENT had an attempt. */
enum observe_outcome {
    OBSERVE_WAITING = 0, /* attempts are being made */
    OBSERVE_UNKNOWN = 1, /* the deadline passed and an attempt is in doubt: being asked about */
    OBSERVE_ACKNOWLEDGED = 2, /* answered: posted */
    OBSERVE_REFUSED = 3,      /* answered: refused, for good */
    OBSERVE_NOT_EXECUTED = 4, /* the deadline passed; certainly nothing was executed */
    OBSERVE_NOT_SENT = 5,     /* too many in flight: never left this program */
    /* It was unknown, then asked about: */
    OBSERVE_FOUND_POSTED = 6,
    OBSERVE_FOUND_REFUSED = 7,
    OBSERVE_FOUND_NEVER = 8, /* not executed, and fenced, so that it never will be */
    OBSERVE_OUTCOME_COUNT
};
/* "acknowledged", "found posted", ... */
const char *observe_outcome_name(uint8_t outcome);

enum observe_durability { OBSERVE_DURABILITY_UNSAID, OBSERVE_BOTH_SITES, OBSERVE_DEGRADED };

struct observe_record {
    uint64_t intended_ns;
    uint64_t sent_ns;     /* first attempt; 0 = none */
    uint64_t refused_ns;  /* the first answer that was none (turned away, told unknown); 0 = none */
    uint64_t answered_ns; /* the final answer; 0 = none */
    uint64_t resolved_ns; /* FOUND_*: when */
    uint64_t answered_wall_ns;      /* when it was sent: identity.issued_at_ns */
    uint64_t index, timestamp_ns;   /* posted: place in the log, commit stamp */
    struct tally_identity identity; /* the transfer's id is its nonce */
    uint64_t leader;                /* as the last answer said; 0 = it did not */
    uint16_t attempts;
    uint8_t outcome;    /* enum observe_outcome */
    uint8_t result;     /* enum tally_result, when executed */
    uint8_t server;     /* number of the last one asked */
    uint8_t durability; /* enum observe_durability */
};

enum observe_event_kind {
    OBSERVE_EVENT_MARK,    /* somebody outside said so */
    OBSERVE_EVENT_LEADER,  /* another node leads */
    OBSERVE_EVENT_RULE,    /* the durability rule, its mode or what answers say of it changed */
    OBSERVE_EVENT_REFUSAL, /* a site's servers turn away with other words than before */
    OBSERVE_EVENT_SERVER,  /* a server answers again, or does not any more */
    OBSERVE_EVENT_KIND_COUNT
};
const char *observe_event_kind_name(uint8_t kind);

struct observe_event {
    uint64_t at_ns;
    uint8_t kind;
    char text[OBSERVE_TEXT_SIZE];
};

struct observe_server {
    char host[256];
    char name[272]; /* as given: host:port */
    uint16_t port;
    uint8_t site;
};

struct observe_site {
    char name[TALLY_SITE_SIZE];
    uint8_t first_server, server_count;
    struct tally_id debit, credit;
    struct observe_record *records; /* in the order of intended_ns */
    size_t count;
    char words[OBSERVE_TEXT_SIZE]; /* what the first failed one was told; "" = none failed */
};

/* A run as it was asked for, and what came of it. */
struct observe {
    struct observe_site sites[OBSERVE_SITES_MAX];
    size_t site_count;
    struct observe_server servers[OBSERVE_SERVERS_MAX];
    size_t server_count;
    const char *ca, *certificate, *key;
    uint32_t ledger;
    uint64_t every_ns, deadline_ns, attempt_ns, resolve_ns, duration_ns; /* duration 0: no end */
    uint32_t in_flight_max;                                              /* of one site */
    size_t records_max;                                                  /* of one site */
    bool cross_site, watch, quiet;
    const char *marks; /* path of a fifo; NULL = none */

    uint64_t origin_ns, origin_wall_ns; /* of the run's clock */
    uint64_t ended_ns;                  /* when sending ended */
    bool records_full;                  /* that was why */
    bool stopping;                      /* no more sending */
    struct observe_event *events;
    size_t event_count;
    uint64_t events_lost;
    char error[OBSERVE_TEXT_SIZE]; /* why the engine could not run */
};

/* ---- records and events ---- */

/* ns since the origin. */
uint64_t observe_now(const struct observe *run);
/* Memory for records and events. False: there is none. */
bool observe_records_init(struct observe *run);
void observe_records_deinit(struct observe *run);
/* Notes an event of this moment; a full list counts it as lost. What is not well-formed UTF-8, or a
 * control character, becomes '?'. */
void observe_event(struct observe *run, enum observe_event_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Keeps the words of the first failure at a site. */
void observe_note_failure(struct observe *run, uint8_t site, uint8_t server, const char *text);
/* Reads "A=host:port,host:port" into a new site. False with the reason in out_error. */
bool observe_site_parse(struct observe *run, const char *text, char out_error[OBSERVE_TEXT_SIZE]);

/* ---- the engine ---- */

/* Sends canaries until the duration is over, SIGINT or SIGTERM, or the records are full; then waits
 * for those under way and asks about unknown ones, at most run->resolve_ns. A second signal ends
 * that, too. False: it could not start, run->error says why. */
bool observe_run(struct observe *run);

/* ---- figures ---- */

struct observe_latency {
    uint64_t p50_ns, p99_ns, max_ns;
};

struct observe_pause {
    uint64_t from_ns; /* intended time of the first send that waited */
    uint64_t to_ns;   /* acknowledgement of it or of a later one; open: the end of sending */
    bool open;        /* none had come by the end */
};

struct observe_summary {
    uint64_t counts[OBSERVE_OUTCOME_COUNT]; /* by outcome at the end */
    uint64_t intended;
    uint64_t in_doubt;              /* were unknown at their deadline: found and unresolved ones */
    uint64_t repeated;              /* more than one attempt */
    struct observe_latency latency; /* of acknowledged ones, from the intended time */
    struct observe_pause pause;     /* the longest; from = to: none was sent */
    uint64_t gap_ns; /* longest between neighbours among acknowledged intended times; the begin and
                      * end of sending count as neighbours */
    uint64_t gap_from_ns;
    struct observe_pause *pauses; /* all from OBSERVE_PAUSE_NOTED_NS on; malloc'ed */
    size_t pause_count;
};
/* False: no memory. */
bool observe_summarize(const struct observe *run, const struct observe_site *site,
                       struct observe_summary *out);
void observe_summary_deinit(struct observe_summary *summary);

/* ---- telling ---- */

/* Once a second: how it goes. `out` NULL: the end of that line. */
void observe_text_live(const struct observe *run, FILE *out);
void observe_text_summary(const struct observe *run, const struct observe_summary *summaries,
                          FILE *out);
/* Write a whole file, replacing what stood there. EXIT_OK or EXIT_LOCAL after a message. */
int observe_write_json(const struct observe *run, const struct observe_summary *summaries,
                       const char *path);
int observe_write_html(const struct observe *run, const struct observe_summary *summaries,
                       const char *path);
/* A JSON string that may stand inside a <script> of an HTML page as well: quotes, control
 * characters, < > & and what is not well-formed UTF-8 are escaped. */
void observe_json_string(FILE *out, const char *text);

#endif
