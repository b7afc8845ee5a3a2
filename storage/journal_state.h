/*
 * The inside of `struct journal`, for storage/journal*.c only.
 *
 * Who owns what:
 *   loop       index and term of the last appended entry, term runs, anchor, the reading window
 *   writer     everything in `struct journal_writer`, under io_lock (the loop takes it for the rare
 *              truncation mark; nobody else waits for it)
 *   preparer   the spare in the making and the files to remove
 *   shared     everything in `struct journal_shared`, under its lock, which is never held over I/O
 */
#ifndef TALLY_STORAGE_JOURNAL_STATE_H
#define TALLY_STORAGE_JOURNAL_STATE_H

#include "storage/journal_format.h"
#include "storage/journal_window.h"

#include <pthread.h>

/* One write call at most; a larger group takes several before its one sync. */
#define JOURNAL_BUFFER_SIZE (4u * 1024 * 1024)
/* A group ends when it has this much, so that the first in a long queue do not wait for the last.
 */
#define JOURNAL_GROUP_SIZE (8ull * 1024 * 1024)
/* Appended and not yet synced, at most. */
#define JOURNAL_QUEUE_SIZE_MAX (64ull * 1024 * 1024)
/* Room that each accepted request brings along: a seal, a stop and a start may follow it. */
#define JOURNAL_REQUEST_SLACK (3ull * JOURNAL_RECORD_ALIGN)
/* What must still fit behind a record: a seal and a stop. */
#define JOURNAL_ENDING_SIZE    (2ull * JOURNAL_RECORD_ALIGN)
#define JOURNAL_SEAL_AFTER_NS  5000000ull    /* idle time until a seal */
#define JOURNAL_SPARE_RETRY_NS 1000000000ull /* when the disk is full */
#define JOURNAL_PREPARE_SLICE  (256u * 1024)
/* While a spare is made: how often it is looked whether a slice is due, and when one is anyway. */
#define JOURNAL_SLICE_LOOK_NS  5000000ull
#define JOURNAL_SLICE_PAUSE_NS 20000000ull

/* A segment that holds (or held) entries. `offsets` has a place for every entry the file can hold,
 * so that an append never allocates; pages not touched cost nothing. */
struct journal_segment {
    uint64_t number;
    uint64_t size;
    uint64_t first_index; /* of offsets[0], or the index that would be next */
    uint32_t count;       /* entries live and published */
    uint32_t capacity;
    uint32_t *offsets; /* in units of JOURNAL_RECORD_ALIGN */
    struct journal_key key;
};

struct journal_term_run {
    uint64_t first_index;
    uint64_t term;
};

struct journal_shared {
    pthread_mutex_t lock;
    enum status failure; /* STATUS_OK, or why everything ends */
    bool stopping;
    bool writer_done, preparer_done;
    /* requests: queued -> taken -> done */
    struct journal_append *queued_first, *queued_last;
    struct journal_append *taken_first;
    struct journal_append *done_first, *done_last;
    uint64_t pending_size; /* accepted, not yet in `room`: records and slack */
    uint64_t room;         /* of the current segment, closing record excepted */
    uint64_t synced_index;
    uint8_t synced_head[JOURNAL_HASH_SIZE];
    /* segments, ascending; the last is being written */
    struct journal_segment **segments;
    size_t segment_count, segment_capacity;
    struct journal_segment *spare;     /* prepared and durable, NULL = none */
    bool spare_is_urgent;              /* a request waits for it */
    bool disk_full;                    /* the last try to make a spare failed for want of room */
    uint64_t remove_first, remove_end; /* pruned segment numbers whose files are to go */
    uint32_t configuration_size;
    uint8_t configuration[JOURNAL_CONFIGURATION_SIZE_MAX];
};

struct journal_writer {
    pthread_mutex_t io_lock;
    struct file *file; /* current segment */
    uint64_t number, size;
    uint64_t offset; /* of the next record */
    uint64_t sequence, synced_sequence;
    uint64_t index, term; /* of the last entry encoded */
    uint8_t head[JOURNAL_HASH_SIZE];
    uint8_t generation[16];
    struct journal_key key;
    struct journal_segment *segment;
    uint32_t count;        /* entries encoded in it, published or not */
    uint16_t last_type;    /* of the last record in this segment */
    uint64_t idle_from_ns; /* end of the last group */
    struct hash_stream *hash;
    uint8_t *buffer; /* JOURNAL_BUFFER_SIZE */
    size_t buffered; /* bytes that belong before `offset` */
};

struct journal_preparer {
    struct file *file; /* spare in the making, NULL = none */
    uint64_t number;
    uint64_t written;
    uint64_t slice_ns; /* end of the last slice */
    struct journal_segment *segment;
};

/* Looks at one record after the other; whose it is decides the thread. */
struct journal_eye {
    struct journal_window window;
    struct file *file;
    uint64_t number; /* of the segment in `file` */
};

struct journal {
    struct journal_options options;
    struct journal_shared *shared;
    struct journal_writer writer;
    struct journal_preparer preparer;
    /* loop */
    uint64_t first_index, last_index, last_term;
    uint64_t anchor_term;
    uint8_t anchor_head[JOURNAL_HASH_SIZE];
    struct journal_term_run *terms;
    size_t term_count, term_capacity;
    struct journal_eye eye;
    struct hash_stream *read_hash;
};

/* ---- journal_segments.c: the index in RAM; the caller holds the lock, or is alone ---- */
/* NULL: no memory. */
struct journal_segment *journal_segment_create(uint64_t number, uint64_t size);
void journal_segment_destroy(struct journal_segment *segment);
/* Makes sure that one more segment can be pushed without allocating. */
enum status journal_segments_reserve(struct journal_shared *shared);
void journal_segments_push(struct journal_shared *shared, struct journal_segment *segment);
/* Segment and offset of a live entry; NULL when there is none. */
const struct journal_segment *journal_segments_find(const struct journal_shared *shared,
                                                    uint64_t index, uint64_t *out_offset);
/* Forgets entries above `index`. */
void journal_segments_trim(struct journal_shared *shared, uint64_t index);
/* Notes the term of entry `index`, which follows the last one. STATUS_NO_MEMORY. */
enum status journal_terms_add(struct journal *journal, uint64_t index, uint64_t term);
void journal_terms_trim(struct journal *journal, uint64_t index);  /* above index */
void journal_terms_prune(struct journal *journal, uint64_t first); /* below first */
/* Invariant: first_index <= index <= last_index. */
uint64_t journal_terms_find(const struct journal *journal, uint64_t index);

/* ---- journal_eye.c ---- */
void journal_eye_init(struct journal_eye *eye, const struct files *files);
void journal_eye_deinit(struct journal_eye *eye);
/* What was looked at before may lack records written since. */
void journal_eye_forget(struct journal_eye *eye);
/* Closes the segment. */
void journal_eye_close(struct journal_eye *eye);
/* A live entry, its checksums verified, and the chain head it holds. The payload lies in the
 * window, until the next look. STATUS_NOT_FOUND when there is no such entry. */
enum status journal_eye_look(struct journal_eye *eye, const struct journal *journal, uint64_t index,
                             struct journal_entry *out_entry, uint8_t out_head[JOURNAL_HASH_SIZE]);
uint64_t journal_synced_index(const struct journal *journal);

/* ---- journal.c ---- */
/* Memory and locks of a journal that knows nothing yet; NULL: no memory. */
struct journal *journal_allocate(const struct journal_options *options);
/* Closes files and frees, whatever state it is in. */
void journal_release(struct journal *journal);

/* ---- journal_preparer.c ---- */
/* Somebody waits for the next segment. */
void journal_hurry_spare(struct journal *journal);

/* ---- journal_writer.c ---- */
/* Writes a header into the spare and makes it the current segment; durable. io_lock held, or alone;
 * a spare is there (invariant) and the segment before is closed and durable. */
enum status journal_writer_begin_segment(struct journal *journal);
/* Truncation mark for the new last entry, durable. io_lock held, nothing queued. */
enum status journal_writer_truncate(struct journal *journal, uint64_t index, uint64_t term,
                                    const uint8_t head[JOURNAL_HASH_SIZE]);
/* Everything ends: all requests become done with `status`. Takes the lock. */
void journal_fail(struct journal *journal, enum status status);

static inline uint64_t journal_usable_size(uint64_t segment_size)
{
    return segment_size - JOURNAL_PAGE_SIZE - JOURNAL_RECORD_ALIGN; /* header, closing record */
}

#endif
