/* What catch_up.c, catch_up_serve.c, catch_up_fetch.c share. */
#ifndef TALLY_REPLICATION_CATCH_UP_INTERNAL_H
#define TALLY_REPLICATION_CATCH_UP_INTERNAL_H

#include "replication/catch_up/catch_up.h"
#include "replication/catch_up/catch_up_build.h"
#include "replication/catch_up/catch_up_job.h"
#include "replication/catch_up/catch_up_message.h"

#include "storage/hash.h"

#define CATCH_UP_NS_PER_MS 1000000ull
/* Without a word for so long, a session or a copy ends. */
#define CATCH_UP_SILENCE_NS (30000 * CATCH_UP_NS_PER_MS)

/* ---- the side that is read from ---- */

#define SERVE_READS_MAX 8
/* Places in the store where the peer may resume: more than can be on their way. */
#define SERVE_MARKS_MAX 16
/* Entries above what its own state reaches that a data node gets without a new store, ... */
#define SERVE_TAIL_BYTES_MAX (1ull << 30)
/* ... and this part of it when it has no state; ... */
#define SERVE_TAIL_SHARE_EMPTY 8
/* After its end a session's journal is kept for so long: the peer opens itself again, and may be
 * behind once more. */
#define SERVE_LINGER_NS (60000 * CATCH_UP_NS_PER_MS)

/*
 *   FREE ──OPEN──► OPENING ──► OPEN ──CLOSE, DONE──► ENDING ──► LINGERING ──► FREE
 *                     │          └──silence, failure──┘ └────────────────────► FREE
 *                     └─ refused ──► ENDING
 */
enum serve_phase { SERVE_FREE, SERVE_OPENING, SERVE_OPEN, SERVE_ENDING, SERVE_LINGERING };

enum serve_work { SERVE_WORK_WHOLE, SERVE_WORK_FROM, SERVE_WORK_READ, SERVE_WORK_END };

struct serve_mark {
    uint64_t offset;
    uint8_t check[CATCH_UP_CHECK_SIZE];
};

struct serve_session {
    struct catch_up_task task; /* first */
    struct catch_up *owner;
    enum serve_phase phase;
    uint64_t id, peer;
    enum member_kind kind;
    uint64_t hold_index; /* the journal is kept above it */
    uint64_t heard_ns;
    bool end_asked, linger; /* when the work in hand is over */
    bool resume_asked;
    struct catch_up_open open_next; /* what is asked then */
    struct catch_up_read reads[SERVE_READS_MAX];
    uint32_t read_count;
    size_t unsent;                          /* bytes of `message` that found no room */
    uint64_t bytes_done, store_size, index; /* for people */

    /* the job's while the task is queued */
    enum serve_work work;
    enum status status;
    struct catch_up_open open;
    struct catch_up_read read;
    uint64_t watermark_index, limit_index;
    struct journal_anchor journal_anchor; /* of our journal, no configuration */
    struct checkpoint_copy *copy;         /* NULL: none, or no more */
    struct checkpoint_copy_info info;     /* size 0: no store; meta: where the journal begins */
    struct journal_reader *reader;
    uint64_t position;                  /* of the store, to be read next */
    uint8_t check[CATCH_UP_CHECK_SIZE]; /* chain over the store up to there */
    uint64_t read_index;                /* of the journal, read last, and the chain head after it */
    uint8_t journal_check[JOURNAL_HASH_SIZE];
    struct serve_mark marks[SERVE_MARKS_MAX];
    uint32_t mark_count; /* ever; the newest SERVE_MARKS_MAX are kept */
    struct catch_up_data data;
    uint8_t *message; /* CATCH_UP_DATA_MESSAGE_SIZE */
};

/* ---- the side that copies ---- */

/* A new journal that is filled before it counts has so much of it. */
#define FETCH_AHEAD_BYTES_MAX (512ull << 20)
#define FETCH_WINDOW          4
#define FETCH_RETRY_NS        (500 * CATCH_UP_NS_PER_MS)  /* OPEN again when refused as busy */
#define FETCH_REPLY_NS        (5000 * CATCH_UP_NS_PER_MS) /* OPEN again when there is no answer */
#define FETCH_POLL_NS         (20 * CATCH_UP_NS_PER_MS)   /* nothing more in the journal for now */
#define FETCH_ALIVE_NS        (5000 * CATCH_UP_NS_PER_MS) /* a word while nothing is read */
#define FETCH_PROGRESS_NS     (10000 * CATCH_UP_NS_PER_MS)
#define FETCH_GIVE_UP_NS      (3000 * CATCH_UP_NS_PER_MS) /* half a store, and its server is away */

/*
 *                    ┌──► FEED ──all, a cut, another leader──► DISCARDING ──► IDLE
 *   IDLE ──OFFER──► OPENING ──► STORE ──► VERIFYING ──► JOURNAL ──► ENDING ──► READY ──► TAKEN
 *                    ▲└──────── connection cut ────────────┘
 *          any failure ──► DISCARDING ──► IDLE
 */
enum fetch_phase {
    FETCH_IDLE,
    FETCH_OPENING,
    FETCH_FEED, /* entries go into the log in use */
    FETCH_STORE,
    FETCH_VERIFYING,
    FETCH_JOURNAL,
    FETCH_ENDING,
    FETCH_READY,
    FETCH_TAKEN,
    FETCH_DISCARDING,
};

enum fetch_work {
    FETCH_WORK_STORE_BEGIN,
    FETCH_WORK_STORE_END,
    FETCH_WORK_JOURNAL_BEGIN,
    FETCH_WORK_END,
    FETCH_WORK_DISCARD,
};

/* Where to begin, tried in this order: behind our journal's last entry, behind the last that we
 * know to be committed, or from nothing. */
enum fetch_try { FETCH_TRY_LAST, FETCH_TRY_COMMITTED, FETCH_TRY_WHOLE };

/* What is built so far, that is, where to go on after a cut. */
enum fetch_part { FETCH_PART_NONE, FETCH_PART_STORE, FETCH_PART_JOURNAL };

struct fetch_piece {
    struct catch_up_task task; /* first */
    struct catch_up *owner;
    bool used;
    bool feeds; /* it came in FEED */
    struct catch_up_data data;
    uint8_t *bytes; /* CATCH_UP_DATA_MAX, 8-aligned */
    enum status status;
    uint64_t last_index, last_term;
    uint8_t check[CATCH_UP_CHECK_SIZE]; /* after it: the store's chain, or the journal's */
    struct journal_entry *entries;      /* CATCH_UP_ENTRIES_MAX; FEED: what `bytes` hold */
    uint32_t entry_count;
};

/* The last of the entries that a FEED has checked, in order. */
struct feed_tail {
    uint64_t index, term;
    uint8_t head[JOURNAL_HASH_SIZE];
};

struct fetch {
    struct catch_up_task control; /* first */
    struct catch_up *owner;
    enum fetch_phase phase;
    enum fetch_part part;
    uint64_t server;
    uint64_t offer_term;
    bool connected; /* `session` is open on the connection that is up */
    bool discard_asked;
    uint64_t session;
    enum fetch_try try;
    uint64_t own_index, own_term; /* the entry of our journal that was asked about */
    uint8_t own_head[JOURNAL_HASH_SIZE];
    uint64_t reach_index; /* known to be committed: our own state gets there with nobody's help */
    uint64_t asked_offset;
    uint32_t asked; /* pieces on their way */
    uint64_t needed_index;
    bool at_end;
    uint64_t bytes_done, bytes_total;
    uint64_t ahead_bytes; /* of entries that came from servers */
    uint64_t index, term; /* the new journal's last; FEED: the last one taken */
    uint32_t feed_order[FETCH_WINDOW], feed_first, feed_count; /* pieces that wait to be taken */
    uint8_t check[CATCH_UP_CHECK_SIZE];
    uint64_t started_ns, progress_ns, retry_ns, poll_ns, alive_ns, told_ns, lost_ns;
    struct catch_up_install install;

    /* the job's while a task is queued */
    enum fetch_work work;
    enum status status;
    struct feed_tail tail;
    struct hash_stream *hash;
    const char *feed_text; /* static: what is wrong with a piece */
    struct journal_anchor anchor;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
    struct catch_up_build build;
    struct fetch_piece pieces[FETCH_WINDOW];
};

/* Who was offered to lately; nobody else is served. */
struct catch_up_offered {
    uint64_t peer; /* 0: free */
    uint64_t at_ns;
};

struct catch_up {
    struct catch_up_options options;
    struct catch_up_job job;
    bool stopping;
    struct serve_session sessions[CATCH_UP_SERVED_MAX];
    struct catch_up_offered offered[MEMBERS_MAX];
    uint64_t serve_next_ns; /* nothing is read before */
    uint64_t serve_rate;    /* bytes per second, over all sessions */
    struct fetch fetch;
    struct catch_up_install installed; /* leader 0: nothing to tell */
};

uint64_t catch_up_now_ns(const struct catch_up *c);
/* The entry that a peer must have at least, for us to go on from memory as its leader. */
uint64_t catch_up_needed_index(const struct catch_up *c, const struct catch_up_facts *facts);
void catch_up_event(struct catch_up *c, const char *name, const char *text, uint64_t a, uint64_t b);
enum status catch_up_send(struct catch_up *c, uint64_t to, enum transport_lane lane,
                          const void *bytes, size_t size);

/* catch_up_pack.c: job. Entries after + 1 .. last, where the reader stands behind `after`, as many
 * as fit; with none, *out_head stays what it is. */
enum status catch_up_pack(struct journal_reader *reader, uint64_t after, uint64_t last,
                          uint8_t *out, uint32_t *out_size, uint64_t *out_last,
                          uint8_t out_head[JOURNAL_HASH_SIZE]);

/* catch_up_serve.c: loop. */
void serve_init(struct catch_up *c);
void serve_deinit(struct catch_up *c);
/* Consensus says that `peer` is a member, and behind. */
void serve_offered(struct catch_up *c, uint64_t peer);
void serve_receive_open(struct catch_up *c, uint64_t from, const struct catch_up_open *open);
void serve_receive_read(struct catch_up *c, uint64_t from, const struct catch_up_read *read);
void serve_receive_close(struct catch_up *c, uint64_t from, const struct catch_up_close *close);
/* The peer says that it is up to date. */
void serve_peer_done(struct catch_up *c, uint64_t peer, uint64_t index);
void serve_link_lost(struct catch_up *c, uint64_t peer);
void serve_writable(struct catch_up *c, uint64_t peer);
void serve_process(struct catch_up *c);
uint64_t serve_next_ns(const struct catch_up *c);
/* catch_up_serve_job.c: job. */
void serve_run(struct catch_up_task *task);
void serve_close_files(struct serve_session *session);

/* catch_up_fetch.c: loop. */
void fetch_headway(struct catch_up *c);
bool fetch_disk_works(const struct fetch *fetch);
void fetch_add_control(struct catch_up *c, enum fetch_work work);
void fetch_send_done(struct catch_up *c, uint64_t to, uint64_t term, uint64_t index);
void fetch_fail(struct catch_up *c, enum status status, const char *text);
/* The next step, with nothing of ours in the job but pieces. */
void fetch_go_on(struct catch_up *c);
void fetch_ask(struct catch_up *c);
void fetch_report_progress(struct catch_up *c);
void fetch_begin_discard(struct catch_up *c);
void fetch_send_close(struct catch_up *c, enum status status);
/* From here on a cut is mended by going on behind the journal's last entry. */
void fetch_begin_journal(struct catch_up *c);
void fetch_init(struct catch_up *c);
void fetch_deinit(struct catch_up *c);
/* catch_up_open.c: loop. Asks the server to open, or to open again where we are. */
void fetch_reopen(struct catch_up *c);
void fetch_send_open(struct catch_up *c);
void fetch_receive_offer(struct catch_up *c, uint64_t from, const struct catch_up_offer *offer);
void fetch_receive_opened(struct catch_up *c, uint64_t from, const struct catch_up_opened *opened);
/* catch_up_fetch.c again. */
void fetch_receive_data(struct catch_up *c, uint64_t from, const struct catch_up_data *data,
                        const uint8_t *bytes);
void fetch_receive_close(struct catch_up *c, uint64_t from, const struct catch_up_close *close);
void fetch_link(struct catch_up *c, uint64_t peer, bool up);
void fetch_process(struct catch_up *c);
uint64_t fetch_next_ns(const struct catch_up *c);
/* [safety] See catch_up_take(). */
bool fetch_may_replace(const struct catch_up *c);
/* catch_up_fetch_job.c: job. */
void fetch_run_control(struct catch_up_task *task);
void fetch_run_piece(struct catch_up_task *task);
/* catch_up_feed.c: the phase FEED. */
enum status feed_check_piece(struct fetch_piece *piece); /* job */
void feed_begin(struct catch_up *c);
void feed_piece_done(struct catch_up *c, struct fetch_piece *piece);
/* Ends it without a failure. */
void feed_end(struct catch_up *c, const char *why);
void feed_go_on(struct catch_up *c);

#endif
