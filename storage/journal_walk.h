/*
 * The one reader of segments: recovery, verification and repair tools all judge a segment by this
 * walk, so that what one calls sound the other does.
 */
#ifndef TALLY_STORAGE_JOURNAL_WALK_H
#define TALLY_STORAGE_JOURNAL_WALK_H

#include "storage/journal_format.h"
#include "storage/journal_window.h"

/* What the records seen so far prove; plain data, copied to walk a segment twice. */
struct journal_walk_position {
    uint64_t sequence;  /* of the last record */
    uint64_t synced_to; /* highest proven durable */
    uint64_t index;     /* last entry */
    uint64_t term;
    uint8_t head[JOURNAL_HASH_SIZE];
    uint64_t first_index; /* lowest entry readable so far; index + 1 when none */
    uint64_t anchor_term; /* term and head before first_index */
    uint8_t anchor_head[JOURNAL_HASH_SIZE];
    uint64_t record_count;
    uint64_t entry_count;
    uint16_t last_type; /* of the last record in this segment; 0 when none */
    uint8_t generation[16];
    uint8_t cluster_id[16];
    bool begun; /* a segment header was accepted */
};

enum journal_walk_end {
    JOURNAL_WALK_CLOSED,  /* ends with a CLOSE, and zeros to the end */
    JOURNAL_WALK_OPEN,    /* ends with zeros */
    JOURNAL_WALK_TORN,    /* from end_offset on lies a write that was never synced */
    JOURNAL_WALK_DAMAGED, /* `damage` tells */
    JOURNAL_WALK_FAILED,  /* the file could not be read: damage.status */
};

struct journal_walk {
    struct journal_walk_position position;
    struct journal_window window;
    struct hash_stream *hash;
    bool check_chain; /* false: take the stored chain heads on trust (first of two passes) */
    /* The segment being walked. */
    char name[JOURNAL_NAME_SIZE];
    struct journal_segment_header header;
    struct journal_key key;
    /* Its outcome. */
    uint64_t end_offset;      /* where the next record goes */
    uint64_t unsynced_offset; /* from here to end_offset nothing proves durable */
    uint64_t torn_bytes;      /* TORN: from end_offset to the last byte that is not zero */
    uint64_t next_number;     /* CLOSED: the next segment and its file size */
    uint64_t next_size;
    struct journal_damage damage;
    /* Called for each sound record, in order; may be NULL. STATUS_NO_MEMORY ends the walk. */
    void *record_context;
    enum status (*record)(void *context, const struct journal_record_header *header,
                          uint64_t offset);
};

void journal_walk_init(struct journal_walk *walk, const struct files *files);
void journal_walk_deinit(struct journal_walk *walk);

/* How a segment's first page looks, apart from the rest of it. */
enum journal_header_look {
    JOURNAL_HEADER_SOUND,
    JOURNAL_HEADER_VERSION, /* sound, of a later format */
    JOURNAL_HEADER_BLANK,   /* whole file zero: a spare */
    JOURNAL_HEADER_UNUSED,  /* page damaged or half written, all behind it zero: never used */
    JOURNAL_HEADER_DAMAGED, /* page damaged, something behind it */
};
/* Reads the first page into walk->header, and as much as it takes to tell. */
enum status journal_walk_look(struct journal_walk *walk, uint64_t number, struct file *file,
                              uint64_t file_size, enum journal_header_look *out_look);

/* After a SOUND look: checks that the header continues what was walked before, then walks the
 * records. */
enum journal_walk_end journal_walk_segment(struct journal_walk *walk, uint64_t number,
                                           uint64_t file_size);

/* Notes damage at `offset` of the segment named last; `format` tells what and what to do. */
void journal_walk_damage(struct journal_walk *walk, enum status status, uint64_t offset,
                         const char *what);

/* Collects the numbers of all segment files, ascending. Owned by the caller (free).
 * STATUS_NOT_FOUND when there is none. */
enum status journal_walk_list(const struct files *files, uint64_t **out_numbers, size_t *out_count);

#endif
