/*
 * The write-ahead journal: raft's log entries, durable, ordered and chained.
 *
 * A directory of pre-written segment files of one size. A record is a header (sequence, synced_to,
 * index, term, length, type, checksums keyed by the segment's random generation), a payload, and
 * for raft entries the chain hash H(previous, index, term, type, payload). docs/formats.md draws
 * it.
 *
 * `synced_to` is the highest record *sequence* (not raft index, which truncation makes go back)
 * known to be synced when a record was written. A bad record at or below the highest synced_to
 * found anywhere after it is corruption: open refuses. Only above it may a tail be cut as torn. A
 * seal record after 5 ms idle and at stop makes the last records fall under the rule.
 *
 * Threads: the loop thread calls everything except journal_writer_step() and
 * journal_preparer_step(), which belong to one thread each (or to the simulator's loop).
 */
#ifndef TALLY_STORAGE_JOURNAL_H
#define TALLY_STORAGE_JOURNAL_H

#include "core/status.h"
#include "storage/files.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct journal;

#define JOURNAL_HASH_SIZE              32
#define JOURNAL_CONFIGURATION_SIZE_MAX 2560

/* Raft entry types. Seals, truncation marks and headers are the journal's own. */
enum journal_entry_type {
    JOURNAL_COMMAND = 1,
    JOURNAL_BARRIER = 2,
    JOURNAL_CONFIGURATION = 3,
    JOURNAL_DURABILITY = 4, /* degrade and return entries */
    JOURNAL_DIGEST = 5,     /* the leader's state digest at an index: replicas compare */
};

struct journal_entry {
    uint64_t index;
    uint64_t term;
    uint16_t type; /* enum journal_entry_type */
    uint32_t size; /* payload bytes, 0 .. ENTRY_SIZE_MAX */
    const void *payload;
};

struct journal_options {
    const struct files *files; /* the journal's own directory */
    /* 64 KiB .. 1 GiB, multiple of 4096; default 64 MiB. Only from 2 MiB does every entry fit: a
     * request must fit one segment whole. May change between starts: it is the size of segments
     * made from then on. */
    uint64_t segment_size;
    uint8_t cluster_id[16];
    void *clock_context;
    uint64_t (*clock_ns)(void *context); /* monotonic */
    void *random_context;
    void (*random)(void *context, void *out, size_t size); /* for segment generations; any thread */
    /* Called from any thread when the writer, the preparer or the loop has something to do; perhaps
     * inside a call of ours, so they must not call back. */
    void *wake_context;
    void (*wake_writer)(void *context);
    void (*wake_preparer)(void *context);
    void (*wake_loop)(void *context);
};

/* Where damage is, in words for people and in numbers for programs. */
struct journal_damage {
    enum status status;
    char segment[64];  /* file name */
    uint64_t offset;   /* in the file */
    uint64_t index;    /* first entry not proven sound by the walk; 0 = unknown */
    uint64_t sequence; /* of the record that belongs there */
    char text[256];    /* what, where, what to do */
};

/* Creates an empty journal in an empty directory: STATUS_EXISTS when there is one already. */
enum status journal_create(const struct journal_options *options);

/* What a journal may begin behind: entries up to `index` are somewhere else (in a checkpoint). */
struct journal_anchor {
    uint64_t index, term;
    uint8_t head[JOURNAL_HASH_SIZE]; /* chain head after entry `index` */
    uint32_t configuration_size;     /* at most JOURNAL_CONFIGURATION_SIZE_MAX */
    const void *configuration;       /* as of entry `index`; see journal_set_configuration */
};
/* The same, but its first entry will be anchor->index + 1. */
enum status journal_create_at(const struct journal_options *options,
                              const struct journal_anchor *anchor);

/* Recovers: reads all segments, cuts a torn tail (and says so in `out_cut`, bytes), builds the
 * index. STATUS_CORRUPT with *out_damage filled; STATUS_WRONG_CLUSTER; STATUS_NOT_FOUND when there
 * is no journal; STATUS_VERSION. */
enum status journal_open(const struct journal_options *options, struct journal **out_journal,
                         struct journal_damage *out_damage, uint64_t *out_cut);
/* Invariant: stopped (journal_stop ran to its end) or never used. */
void journal_close(struct journal *journal);

/* ---- position ---- */
struct journal_position {
    uint64_t first_index; /* oldest readable entry; last_index + 1 when none */
    uint64_t last_index;  /* newest appended (perhaps not yet synced) */
    uint64_t last_term;
    uint64_t synced_index; /* newest entry known durable */
    uint64_t anchor_index; /* entry before first_index: prune kept its term and head */
    uint64_t anchor_term;
    uint64_t segment_count;
    uint64_t bytes;                  /* on disk, segments and spare */
    uint8_t head[JOURNAL_HASH_SIZE]; /* chain hash of synced_index (hashing is the writer's work) */
};
void journal_position(const struct journal *journal, struct journal_position *out);
/* Chain head after entry `index` (anchor_index .. synced_index); STATUS_NOT_FOUND otherwise. Reads
 * and verifies that entry: STATUS_CORRUPT or STATUS_IO are fail-stop. */
enum status journal_head(struct journal *journal, uint64_t index,
                         uint8_t out_head[JOURNAL_HASH_SIZE]);
/* The lowest index such that the records from there up to entry `index` (synced), that one
 * excepted, take about `bytes` on disk at most; first_index at least. index + 1 when it is not
 * readable. */
uint64_t journal_tail(const struct journal *journal, uint64_t index, uint64_t bytes);
/* Term of entry `index` (anchor_index .. last_index). */
enum status journal_term(const struct journal *journal, uint64_t index, uint64_t *out_term);

/* ---- append: group commit ---- */
struct journal_append;
typedef void (*journal_append_cb)(struct journal_append *request, enum status status);

/* Embedded by the caller. `entries` and payloads are borrowed until the callback. */
struct journal_append {
    const struct journal_entry *entries; /* indexes follow last_index without gap */
    uint32_t entry_count;
    journal_append_cb cb; /* on the loop thread, from journal_process() */
    /* ---- ours ---- */
    struct journal_append *next;
    uint64_t size;
    uint64_t queued_ns;
    enum status status;
};

/* Queues. STATUS_READ_ONLY when the disk has no room for a further segment (reserve reached),
 * except for a single barrier, which is taken as long as this segment has room; STATUS_BUSY when
 * the queue's bound is reached (64 MiB, or what is certain to find room: the loop is woken when
 * there is more); STATUS_STOPPING; STATUS_NO_MEMORY; STATUS_INVALID when the request is larger than
 * a segment; after a failure its status. Never calls back inside. The callback says STATUS_OK once
 * the entries are synced; any other status is fail-stop: the process must exit. */
enum status journal_append(struct journal *journal, struct journal_append *request);

/* Loop thread: runs the callbacks of finished appends, in order. */
void journal_process(struct journal *journal);

/* Discards entries >= index (raft conflict) by a synced truncation mark, written before it returns.
 * Invariant: no append in flight, index > anchor_index. STATUS_BUSY or STATUS_READ_ONLY: no room
 * for the mark now, nothing changed. STATUS_STOPPING. Others are fail-stop. */
enum status journal_truncate_suffix(struct journal *journal, uint64_t index);

/* Forgets whole segments whose entries are all <= index (at most synced_index); the preparer
 * removes their files afterwards, oldest first, so after a crash more may be left and is pruned
 * again. The anchor of the oldest kept segment holds index, term, head and `configuration` of what
 * was removed. STATUS_CORRUPT or STATUS_IO (reading the new anchor) are fail-stop. */
enum status journal_prune_prefix(struct journal *journal, uint64_t index);
/* Configuration (raft membership and mode, opaque) to be kept by the anchors of segments begun from
 * now on.
 */
void journal_set_configuration(struct journal *journal, const void *bytes, size_t size);
enum status journal_configuration(const struct journal *journal, void *out_bytes, size_t capacity,
                                  size_t *out_size);

/* Reads entries [first, last] in order, verifying each; stops early when `each` returns false.
 * Payloads are borrowed until `each` returns, 8-byte aligned. STATUS_NOT_FOUND unless first_index
 * <= first and last <= synced_index. STATUS_CORRUPT is fail-stop. `each` must not call the journal.
 */
enum status journal_read(struct journal *journal, uint64_t first, uint64_t last,
                         bool (*each)(void *context, const struct journal_entry *entry),
                         void *context);

/* ---- reading beside the loop ---- */
/* One reader belongs to one thread, which may be any; the journal must outlive it. What it reads
 * may be pruned meanwhile, unless the caller keeps that from happening. */
struct journal_reader;
enum status journal_reader_create(struct journal *journal, struct journal_reader **out_reader);
void journal_reader_destroy(struct journal_reader *reader); /* NULL is allowed */
/* Next to be read is index + 1, and `head` is the chain head after `index`. */
void journal_reader_set(struct journal_reader *reader, uint64_t index,
                        const uint8_t head[JOURNAL_HASH_SIZE]);
/* The same, with the head that the record of entry `index` holds, which is told together with its
 * term. STATUS_NOT_FOUND when that entry is not in the journal (any more, or synced). */
enum status journal_reader_seek(struct journal_reader *reader, uint64_t index, uint64_t *out_term,
                                uint8_t out_head[JOURNAL_HASH_SIZE]);
/* What the oldest segment's header says: the entry before the journal's first, and the
 * configuration as of that entry, into `configuration`. STATUS_CORRUPT: the header cannot be read.
 */
enum status journal_reader_anchor(struct journal_reader *reader, struct journal_anchor *out,
                                  uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX]);
/* Entries from the next one up to `last`, each verified, its chain from the one before it included;
 * ends early when `each` returns false (that entry counts as read). Payloads are borrowed until
 * `each` returns, 8-byte aligned. STATUS_NOT_FOUND: the next entry was pruned, or `last` is not
 * synced. `out_head`: the chain head after the last entry read. */
enum status journal_reader_read(struct journal_reader *reader, uint64_t last,
                                bool (*each)(void *context, const struct journal_entry *entry),
                                void *context, uint8_t out_head[JOURNAL_HASH_SIZE]);

/* True while the disk has no room for a further segment: refuse writes, raise the alarm. Ends by
 * itself when there is room again. */
bool journal_is_read_only(const struct journal *journal);
/* STATUS_OK, or why everything ended (also when no append was in flight to be told). */
enum status journal_failure(const struct journal *journal);
/* Age of the oldest write not yet synced, ns; 0 when idle. */
uint64_t journal_write_age_ns(const struct journal *journal);

/* ---- jobs ---- */
enum job_state {
    JOB_IDLE,   /* nothing to do until woken, or until *out_wait_ns passed (UINT64_MAX = never) */
    JOB_AGAIN,  /* call again at once */
    JOB_FAILED, /* fail-stop; the reason reached the loop through callbacks */
    JOB_DONE,   /* stopped */
};
/* One group: takes all queued appends, writes them with one write where possible, syncs once. */
enum job_state journal_writer_step(struct journal *journal, uint64_t *out_wait_ns);
/* Pre-writes and syncs the next segment so that no append waits for it; retries when full. Removes
 * the files of pruned segments. */
enum job_state journal_preparer_step(struct journal *journal, uint64_t *out_wait_ns);
/* Appends are refused from now on; the writer finishes what is queued, adds a stop mark, syncs and
 * ends with JOB_DONE; the preparer ends with JOB_DONE. */
void journal_stop(struct journal *journal);

/* ---- offline ---- */
struct journal_report {
    uint64_t segment_count, record_count, entry_count, bytes;
    uint64_t first_index, last_index;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint64_t torn_bytes;          /* would be cut at the next start */
    struct journal_damage damage; /* damage.status == STATUS_OK when all is well */
};
/* Read-only walk over checksums, sequence, indexes, padding and chain. STATUS_OK when the walk
 * could be done, damage or not. `progress` counts segments; may be NULL. */
enum status journal_verify(const struct files *files, struct journal_report *out,
                           void (*progress)(void *context, uint64_t done, uint64_t total),
                           void *context);

/* What a survey shows, in the order of the records. Borrowed until return; any may be NULL. */
struct journal_visitor {
    void *context;
    /* What the oldest segment begins behind, once. */
    void (*anchor)(void *context, const struct journal_anchor *anchor);
    /* What each later segment begins with; see journal_set_configuration. */
    void (*configuration)(void *context, const void *bytes, size_t size);
    /* `head`: the chain head after it. Its checksums and its chain are good. */
    void (*entry)(void *context, const struct journal_entry *entry,
                  const uint8_t head[JOURNAL_HASH_SIZE]);
    /* Entries above `index` are discarded; `term` and `head` are of that entry. */
    void (*truncated)(void *context, uint64_t index, uint64_t term,
                      const uint8_t head[JOURNAL_HASH_SIZE]);
};
/* As journal_verify, and shows what was found up to the end or to the damage. */
enum status journal_survey(const struct files *files, const struct journal_visitor *visitor,
                           struct journal_report *out);

#endif
