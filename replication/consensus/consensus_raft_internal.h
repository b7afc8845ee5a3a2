/*
 * Between the files of consensus_raft; nobody else includes it.
 *
 *     node, transport ──► consensus_raft.c        life, status, the order of a turn
 *                         consensus_settle.c      what follows each event
 *                         consensus_log.c         propose, pull
 *                         consensus_receive.c     messages in: decoding, admission
 *                         consensus_read.c        read rounds, clock offsets
 *                         consensus_members.c     change, peers, transfer, watermark, falls behind
 *                         consensus_lead.c        when to campaign, when to hand over
 *                         consensus_floors.c      who lost entries, as anybody knows
 *                         durability_*.c          the two sites: see durability_drive.h
 *     libraft ──► guard ──► raft_io_load.c        what a start begins with
 *                           raft_io_disk.c        append, truncate, term, vote
 *                           raft_io_send.c        messages out
 *                           raft_io_trim.c        the log in memory, "snapshots"
 *                           raft_io_witness.c     how much of it a witness needs at its start
 *                           raft_io_site.c        what the durability rule asks of us
 *
 * One rule for all: libraft calls us, and is called, only from a function of consensus.h or from a
 * callback that process() runs. Whatever becomes due inside (callbacks of libraft, news for the
 * node, fail-stop) is noted and done by consensus_settle() or by process(), outside of libraft.
 */
#ifndef TALLY_REPLICATION_CONSENSUS_RAFT_INTERNAL_H
#define TALLY_REPLICATION_CONSENSUS_RAFT_INTERNAL_H

#include "replication/agreed.h"
#include "replication/consensus/consensus_raft.h"
#include "replication/consensus/durability_drive.h"
#include "replication/consensus/raft_message.h"
#include "replication/guard/raft_guard.h"
#include "storage/hard_state.h"

#define NS_PER_MS ((uint64_t)1000000)

/* Members, and who else talks to us: new members that our configuration does not know yet. The
 * transport lets in as many strangers as there may be members. */
#define CONSENSUS_PEERS_MAX (2 * MEMBERS_MAX + 2)
/* Entries beyond which the log in memory is full, however small they are. */
#define CONSENSUS_LOG_COUNT_MAX 262144u
#define CONSENSUS_TAIL_COUNT    65536u
/* Taken in from a leader and not yet accepted by the journal, at most. */
#define CONSENSUS_WAITING_BYTES_MAX  (16ull * 1024 * 1024)
#define CONSENSUS_HOLD_MS            2000
#define CONSENSUS_HOLD_BYTES         (64ull * 1024 * 1024)
#define CONSENSUS_ROUNDS_MAX         64
#define CONSENSUS_WATERMARK_MS       200
#define CONSENSUS_WATERMARK_AGAIN_MS 2000
#define CONSENSUS_FEED_MS            30000 /* after the last offer */
#define CONSENSUS_OFFER_MS           1000  /* between two words about a peer that is behind */
#define CONSENSUS_CLOCK_ROUND_MS     1000
#define CONSENSUS_FLOORS_MS          1000 /* the leader measures them this often */
#define CONSENSUS_FLOORS_AGAIN_MS    250  /* until a peer has answered */
#define CONSENSUS_CONDEMNED_MS       1000 /* a node that lost entries still says so to its peers */
#define CONSENSUS_COMMIT_WORD_NS     NS_PER_MS /* between two empty messages that tell a commit */

struct consensus_raft;

/* What an index costs in memory, payload apart: its places in libraft's arrays. */
#define CONSENSUS_ENTRY_COST 96u

struct consensus_raft_peer {
    uint64_t id;
    bool linked;
    uint64_t heard_ns;
    /* ---- of this link: consensus_floors.c ---- */
    bool vouched;                         /* it said where its journal ends: it may be heard */
    bool below_floor;                     /* it lost entries: nothing of it counts */
    bool floors_due;                      /* we know what it should hear */
    uint64_t floors_ns;                   /* when it was told last, 0 = not yet */
    uint64_t told_floor, told_floor_term; /* its own, as told; 0 = none */
    uint64_t lost_told_ns;                /* when the log heard that it lost entries */
    /* ---- as long as we lead ---- */
    uint64_t told_commit, told_ns; /* the last AppendEntries to it */
    bool cut;                      /* not all that libraft wanted was sent; ... */
    uint64_t cut_at;               /* ... this is the next entry */
    uint64_t round_seen;           /* newest round it answered */
    bool behind;                   /* needs what only journal and store have */
    uint64_t offered_ns;           /* when that was last said */
    uint64_t behind_told_ns;       /* when the log heard of it */
    uint64_t resume_ns;            /* not before: it gave up */
    uint64_t acknowledged;         /* in its results of our term: its journal reached so far */
    bool lost;                     /* and does not any more */
    /* ---- its wall clock ---- */
    bool clock_known;
    int64_t clock_offset_ns;
};

enum disk_operation_kind { DISK_APPEND, DISK_TRUNCATE };

/* In order, what libraft asked of the disk and is not done: first those that the journal has, then
 * those that wait for room in it. */
struct disk_operation {
    struct journal_append append; /* first */
    struct consensus_raft *consensus;
    struct disk_operation *next;
    enum disk_operation_kind kind;
    struct raft_io_append *request; /* called back at the end; NULL: a later operation has it */
    uint64_t truncate_from;
    uint64_t bytes;
    uint32_t count;
    struct journal_entry entries[];
};

struct read_round {
    uint64_t sequence;
    uint64_t index;   /* commit index when it began */
    uint64_t sent_ns; /* monotonic */
    int64_t sent_wall_ns;
};

/* Another node's question, waiting for a round. */
struct read_question {
    uint64_t from, sequence;
    uint64_t round; /* 0: not begun */
    uint64_t asked_ns;
};
#define CONSENSUS_QUESTIONS_MAX 256

struct consensus_reads {
    /* ours */
    struct consensus_confirmation *first, *last;
    bool process_asked; /* something to call back */
    /* as leader */
    uint64_t term; /* the rounds below are of this term */
    uint64_t sequence;
    struct read_round rounds[CONSENSUS_ROUNDS_MAX]; /* by sequence */
    uint64_t confirmed; /* all rounds up to here were answered by a majority */
    uint64_t last_round_ns;
    struct read_question questions[CONSENSUS_QUESTIONS_MAX];
    uint32_t question_count;
    /* as follower */
    uint64_t asked_sequence; /* begins anywhere: no two lives of a node ask the same */
};

struct consensus_raft {
    struct consensus base;
    struct consensus_raft_options options;
    struct agreed loaded; /* what options.configuration says */
    struct raft raft;
    struct raft_guard guard;
    struct raft_io io;   /* ours, below the guard */
    struct raft_fsm fsm; /* likewise */
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    raft_io_close_cb closed;
    bool initialized, started, stopped;
    bool is_witness;

    /* Fail-stop. */
    enum status failure;
    bool failure_told;
    uint64_t condemned_index;    /* not 0: the failure is that we lack this acknowledged entry */
    uint64_t condemned_until_ns; /* not before: sink.failed */
    bool condemned_told;
    char failure_text[400];

    /* Disk. */
    struct hard_state hard_state;
    struct disk_operation *operations, **operations_end; /* all, in order */
    struct disk_operation *waiting;                      /* the first that the journal has not */
    uint64_t waiting_bytes;
    uint32_t in_journal;
    uint64_t synced_index;

    /* Completions to be called outside of libraft. */
    struct raft_io_send **sends;
    uint32_t send_count, send_capacity;
    struct raft_io_snapshot_put *put;
    struct raft_io_snapshot_get *gets[CONSENSUS_PEERS_MAX];
    uint32_t get_count;

    /* The log in memory. */
    uint64_t log_bytes;             /* entries in memory, with CONSENSUS_ENTRY_COST each */
    uint64_t payload_bytes;         /* the payloads alone */
    uint64_t durable_index;         /* the store's; a witness: what it may forget */
    uint64_t loaded_index;          /* known to be committed at the start, and its term; ... */
    uint64_t loaded_term;           /* ... at or above the durable index */
    uint64_t trim_index;            /* could be dropped up to here, ... */
    uint64_t trim_bytes, trim_step; /* ... which frees this much; and by how much it is worth it */
    uint64_t behind_ns;             /* leader: when a member was last behind, 0 = never */
    uint64_t put_trim_index;        /* of the snapshot being put */
    bool shrink_wanted;             /* libraft is asked for a snapshot */

    /* Pulling. */
    uint64_t consumed_index, consumed_term;
    struct journal_entry next_entry;

    /* Proposing. */
    uint64_t uncommitted_bytes, counted_commit, counted_term;
    struct propose_mark {
        uint64_t index, ns;
    } marks[256];
    uint32_t mark_first, mark_count;

    /* Peers. */
    struct consensus_raft_peer peers[CONSENSUS_PEERS_MAX];
    uint32_t peer_count;
    uint64_t heard_leader_ns;
    uint64_t followed_term, followed_leader; /* the newest term with a leader that we followed */
    uint64_t watermark_index, watermark_ns;
    uint64_t told_watermark, told_both_index, watermark_told_ns;
    uint64_t malformed_count;
    uint64_t malformed_told_ns;
    uint64_t lost_told_ns;
    uint64_t floors_ns;       /* when they were measured last */
    struct floors own_floors; /* where options bring none */
    bool own_floor_judged;

    /* Membership. */
    uint64_t published_configuration; /* index of what the journal's anchors carry; ... */
    uint64_t published_durability;    /* ... likewise */
    uint64_t noted_index, noted_term; /* a witness's note */
    struct raft_change change;
    bool change_runs;
    consensus_change_cb change_cb;
    void *change_context;
    bool change_done;
    enum status change_status;

    /* Leading. */
    uint64_t led_term; /* the term of the leadership that peers[] is about, 0 = none */
    uint64_t handover_ns, stuck_ns, skew_told_ns;
    uint32_t handover_tries;
    uint64_t elected_leader; /* whose site the election wait was drawn for */

    /* The two sites. */
    struct site_table sites;
    struct durability_log durability_log;
    struct durability_drive durability_drive;

    struct consensus_reads reads;

    /* What news() was last told. */
    uint64_t told_commit;
    uint64_t told_term, told_leader, told_configuration, told_both;
    unsigned short told_state;
    bool told_ready, told_transferring;
    bool news;
    bool tick_wanted; /* without waiting for a timer */
};

/* ---- consensus_raft.c ---- */
struct consensus_raft *consensus_of_io(struct raft_io *io);
uint64_t consensus_now_ns(const struct consensus_raft *c);
uint64_t consensus_last_index(const struct consensus_raft *c);
/* Takes part: started, not stopped, not failed. */
bool consensus_is_live(const struct consensus_raft *c);
bool consensus_leads(const struct consensus_raft *c);
bool consensus_is_transferring(const struct consensus_raft *c);
/* The first one is kept; sink.failed hears of it from process(). */
void consensus_fail(struct consensus_raft *c, enum status status, const char *text);
/* One tick of libraft, if there is something for it to do or `wanted`. */
void consensus_tick(struct consensus_raft *c, bool wanted);
/* What is agreed by now, as anchors and notes keep it. */
void consensus_agreed(const struct consensus_raft *c, struct agreed *out);
void consensus_event(const struct consensus_raft *c, const char *name, const char *text, uint64_t a,
                     uint64_t b);
uint64_t consensus_random(const struct consensus_raft *c, uint64_t below);

/* ---- consensus_settle.c ---- */
/* After every event, outside of libraft: what became due inside. */
void consensus_settle(struct consensus_raft *c);
/* Leads, and has pulled an entry of its term. */
bool consensus_is_ready(const struct consensus_raft *c);
/* Who leads as far as this node knows, itself included; 0: nobody. */
uint64_t consensus_leader(const struct consensus_raft *c);

/* ---- consensus_log.c: as in consensus.h ---- */
enum status consensus_log_propose(struct consensus_raft *c, struct consensus_proposal *proposal);
/* The same of an entry that is not held back by what is uncommitted. Leader, barrier in the log. */
enum status consensus_log_append(struct consensus_raft *c, struct consensus_proposal *proposal);
const struct journal_entry *consensus_log_next(struct consensus_raft *c);
void consensus_log_consumed(struct consensus_raft *c);
void consensus_log_durable(struct consensus_raft *c, uint64_t index);

/* ---- raft_io_heap.c ---- */
/* libraft's memory is cleared when it is handed out; once per process. */
void raft_io_use_heap(void);
/* Such memory that is not cleared: it will be filled. NULL: none. */
void *raft_io_take(size_t size);

/* ---- raft_io_load.c ---- */
int raft_io_load(struct raft_io *io, raft_term *term, raft_id *vote,
                 struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[],
                 size_t *count);
/* The entry as the journal keeps it. `entry` in libraft's form: see raft_io_load.c. */
void raft_io_entry(const struct raft_entry *entry, uint64_t index, struct journal_entry *out);
/* The buffer libraft keeps of an entry. False: no memory. */
bool raft_io_buffer(uint16_t type, const void *payload, uint32_t size, unsigned short *out_type,
                    struct raft_buffer *out);
/* Payload, and with what an entry costs beside it. */
uint64_t raft_io_payload_size(const struct raft_entry *entry);

/* ---- raft_io_witness.c ---- */
/* Notes that everything up to `index` is committed, and the newest committed configuration. False:
 * it could not be written, the note before is still there. */
bool raft_io_note_witness(struct consensus_raft *c, uint64_t index);
/* A witness's durable index, its term and the configuration: the note's, or the journal's anchor.
 * STATUS_NO_MEMORY, or what the journal says. */
enum status raft_io_recall_witness(struct consensus_raft *c);

/* ---- raft_io_disk.c ---- */
int raft_io_append(struct raft_io *io, struct raft_io_append *request,
                   const struct raft_entry entries[], unsigned count, raft_io_append_cb cb);
int raft_io_truncate(struct raft_io *io, raft_index index);
int raft_io_set_term(struct raft_io *io, raft_term term);
int raft_io_set_vote(struct raft_io *io, raft_id id);
/* Gives to the journal what waits, as far as there is room. */
void raft_io_pump(struct consensus_raft *c);
/* Closing: calls everything back that is not done. */
void raft_io_cancel(struct consensus_raft *c);

/* ---- raft_io_send.c ---- */
int raft_io_send(struct raft_io *io, struct raft_io_send *request,
                 const struct raft_message *message, raft_io_send_cb cb);
/* Calls back the sends that ended. */
void raft_io_complete_sends(struct consensus_raft *c);
/* A message with no entries; lost if it cannot be sent. */
void raft_io_say(struct consensus_raft *c, uint64_t to, const struct raft_message_view *view);
/* The same with `size` bytes behind it, and what became of it. */
enum status raft_io_say_with(struct consensus_raft *c, uint64_t to,
                             const struct raft_message_view *view, const void *bytes, size_t size);

/* ---- raft_io_site.c: for the guard, as in raft_guard.h ---- */
void raft_io_places(void *context, const struct raft_configuration *configuration,
                    enum site_place out_places[]);
bool raft_io_sets_mode(void *context, const struct raft_buffer *buffer,
                       enum durability_mode *out_mode);
uint64_t raft_io_room(void *context, raft_id id);

/* ---- raft_io_trim.c ---- */
int raft_io_snapshot_put(struct raft_io *io, unsigned trailing,
                         struct raft_io_snapshot_put *request, const struct raft_snapshot *snapshot,
                         raft_io_snapshot_put_cb cb);
int raft_io_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *request,
                         raft_io_snapshot_get_cb cb);
int raft_io_fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *buffers[], unsigned *count);
int raft_io_fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buffer);
/* Calls back puts and gets. */
void raft_io_complete_snapshots(struct consensus_raft *c);
void raft_io_log_grows(struct consensus_raft *c, const struct raft_entry entries[], unsigned count);
void raft_io_log_shrinks(struct consensus_raft *c, raft_index from);
/* How far the log could be trimmed; asks libraft for a snapshot when that is worth it. */
void raft_io_note_durable(struct consensus_raft *c);
bool raft_io_log_is_full(const struct consensus_raft *c);
/* Full, but one more commit frees memory. */
bool raft_io_log_can_shrink(const struct consensus_raft *c);

/* ---- consensus_receive.c ---- */
void consensus_raft_receive(struct consensus_raft *c, uint64_t from, const void *bytes,
                            size_t size);

/* ---- consensus_floors.c ---- */
void consensus_floors_linked(struct consensus_raft *c, struct consensus_raft_peer *peer, bool up);
/* Whether what it says may be heard. */
bool consensus_floors_vouch(struct consensus_raft_peer *peer);
/* Also while we are condemned. */
void consensus_floors_receive(struct consensus_raft *c, uint64_t from,
                              const struct raft_message_view *view);
void consensus_floors_journal_end(struct consensus_raft *c, uint64_t from,
                                  const struct raft_message_view *view);
/* True, and fail-stop: an entry from `index` on is known to be committed. */
bool consensus_floors_forbid_truncation(struct consensus_raft *c, uint64_t index);
/* Once, at the start: by what we knew of ourselves before. */
void consensus_floors_judge_own(struct consensus_raft *c);
void consensus_floors_process(struct consensus_raft *c);
uint64_t consensus_floors_next_ns(const struct consensus_raft *c);

/* ---- consensus_feed.c: as in consensus.h ---- */
enum status consensus_feed_receive(struct consensus_raft *c, const struct consensus_feed *feed);

/* ---- consensus_read.c ---- */
void consensus_reads_confirm(struct consensus_raft *c, struct consensus_confirmation *confirmation);
void consensus_reads_probe(struct consensus_raft *c, uint64_t from,
                           const struct raft_message_view *view);
void consensus_reads_probe_result(struct consensus_raft *c, uint64_t from,
                                  const struct raft_message_view *view);
void consensus_reads_read_index(struct consensus_raft *c, uint64_t from,
                                const struct raft_message_view *view);
void consensus_reads_read_index_result(struct consensus_raft *c, uint64_t from,
                                       const struct raft_message_view *view);
/* Begins rounds, ends questions; calls confirmations back. */
void consensus_reads_process(struct consensus_raft *c);
uint64_t consensus_reads_next_ns(const struct consensus_raft *c);

/* ---- consensus_members.c ---- */
struct consensus_raft_peer *consensus_peer(struct consensus_raft *c, uint64_t id);
const struct consensus_raft_peer *consensus_find_peer(const struct consensus_raft *c, uint64_t id);
/* The member of the configuration in force at place `i`; false: its record is none. */
bool consensus_member(const struct consensus_raft *c, unsigned i, struct member *out);
enum status consensus_members_change(struct consensus_raft *c,
                                     const struct consensus_change *change, consensus_change_cb cb,
                                     void *context);
enum status consensus_members_transfer(struct consensus_raft *c, uint64_t to);
/* The same, whatever else is under way; 0: the best successor. */
enum status consensus_members_hand_over(struct consensus_raft *c, uint64_t to);
uint32_t consensus_members_peers(const struct consensus_raft *c, struct consensus_peer *out,
                                 uint32_t capacity);
/* Whom leadership would best go to; 0: nobody. `other_than` is left out. */
uint64_t consensus_best_successor(const struct consensus_raft *c);
void consensus_members_caught_up(struct consensus_raft *c, uint64_t peer, uint64_t index);
/* libraft wants to send a snapshot. */
void consensus_members_fell_behind(struct consensus_raft *c, uint64_t peer);
void consensus_members_process(struct consensus_raft *c);
uint64_t consensus_members_next_ns(const struct consensus_raft *c);
/* The journal's anchors carry the newest committed configuration. */
void consensus_publish_configuration(struct consensus_raft *c);
void consensus_members_end_change(struct consensus_raft *c, enum status status);
/* Calls back the change that ended. */
void consensus_members_tell_change(struct consensus_raft *c);

/* ---- consensus_lead.c ---- */
int consensus_lead_random(struct raft_io *io, int min, int max);
/* Before a tick: who may campaign now. */
void consensus_lead_before_tick(struct consensus_raft *c);
/* A leader was heard: how long to wait for its successor. */
void consensus_lead_heard(struct consensus_raft *c);
bool consensus_lead_disk_is_stuck(const struct consensus_raft *c);
bool consensus_lead_holds(const struct consensus_raft *c);
void consensus_lead_process(struct consensus_raft *c);
uint64_t consensus_lead_next_ns(const struct consensus_raft *c);

#endif
