/*
 * The certificate: "at the moment T everything acknowledged has an index of at most N, and H is the
 * chain head at N". It is what is left to judge a loss by when those who acknowledged are gone, so
 * N must be an upper bound in every case, and T must not be later than what N is a bound for.
 *
 * Why it is one. A leader L of term t, whose barrier is applied, notes its clock as T and *then*
 * asks a majority whether its term still stands (the read round of consensus_read.c). When the
 * round has ended well, N is L's commit index of that moment. What was acknowledged at T, by
 * whichever node, was committed at T, by some leader:
 *   - by one of an earlier term, even by one that goes on believing to lead: then it is in L's log
 *     below L's barrier (Raft's leader completeness), and the barrier is at or below N;
 *   - by L: then L's commit index at T was at or above it, and commit does not go back;
 *   - by one of a later term: there was none at T. Its votes came from a majority, which shares a
 *     node with the one that answered our round; that node knew no later term when it answered,
 *     which was after T. So a leader that was stopped or cut off for a while makes no certificate:
 *     T would be what it believes the time of its round to be, and nobody answers the round.
 * T itself is the leader's clock, or the earliest of the members' clocks where that is earlier: a
 * clock that runs ahead would shorten the time that a verdict says nothing about. One that runs
 * behind lengthens it, which is told (tally_certificate_time_seconds), and claims less.
 * Commit and not applied index: a follower that learns a commit from L applies it at once, perhaps
 * before L does, and answers a repeat of the request from its own state. All other answers leave
 * after L applied; reads say nothing that is not committed. Forwarded answers are L's.
 * N is also not needlessly high: an entry above the commit index may vanish without a loss, and a
 * certificate that names it would deny a proof.
 *
 * H needs entry N in our own journal, synced. Commit may be ahead of that (two other disks were
 * faster): then N stays what it is and waits for our disk.
 *
 * What it says beside N: the newest committed durability entry (number and policy), the newest one
 * in the log, and SYNC only if neither the log nor its committed part is degraded: what a degraded
 * leader might commit on one site alone must not look as if it had not. `both_index` is what
 * consensus knows to be on both sites, never N itself: under DEGRADED, and for a mode that changed
 * meanwhile, only measurement counts (rule 9).
 *
 * Holding it. Every member keeps the newest, by (epoch, term, number in its term), in memory and in
 * a file. The order of terms is not the order of T, but any certificate stays true for ever, so
 * nothing depends on which one is kept. The file is written by a job of its own, behind what is in
 * memory by CERTIFICATE_FILE_MS and a sync: an older one says less, not something false. So no
 * error with it stops the node; it is told once, and tried again. The peer that sends a certificate
 * is authenticated, and the signature is checked by who reads the file without trusting anybody.
 * What a disk makes of the file is told by the digest at its end: then none is held until the next
 * one comes, rather than one that nobody made.
 */
#include "replication/node/certificate.h"

#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/message.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull

enum certificate_file { FILE_RESTS, FILE_WANTED, FILE_WRITTEN };

static uint64_t now_ns(const struct certificates *c)
{
    return c->environment->monotonic_ns(c->environment->context);
}

/* ---- holding ---- */

static void keep(struct certificates *c, const struct certificate_view *view, const void *bytes,
                 size_t size)
{
    memcpy(c->bytes, bytes, size);
    c->size = size;
    c->record = view->record;
    c->unwritten = true;
}

static bool is_ours(const struct certificates *c, const struct certificate_record *record)
{
    return memcmp(record->cluster_id, c->identity->cluster_id, sizeof record->cluster_id) == 0 &&
           record->cluster_epoch == c->identity->cluster_epoch;
}

void certificates_load(struct certificates *c)
{
    struct file *file = NULL;
    struct certificate_view view;
    uint64_t size = 0;
    enum status status = c->files->open(c->files->context, CERTIFICATE_FILE, FILE_READ, &file);
    if (status == STATUS_NOT_FOUND)
        return;
    if (status == STATUS_OK)
        status = c->files->size(c->files->context, file, &size);
    if (status == STATUS_OK && size > sizeof c->bytes)
        status = STATUS_INVALID;
    if (status == STATUS_OK)
        status = c->files->read(c->files->context, file, c->bytes, (size_t)size, 0);
    if (file != NULL)
        c->files->close(c->files->context, file);
    if (status == STATUS_OK)
        status = certificate_decode(c->bytes, (size_t)size, &view);
    if (status == STATUS_OK && !is_ours(c, &view.record))
        status = STATUS_WRONG_CLUSTER;
    if (status != STATUS_OK) {
        notify_event(c->notify, "certificate_unreadable",
                     "the file certificate in the data directory is no certificate of this "
                     "cluster; it will be replaced by the next one of a leader",
                     status, size);
        return;
    }
    c->size = (size_t)size;
    c->record = view.record;
}

void certificates_receive(struct certificates *c, uint64_t from, const void *bytes, size_t size)
{
    struct certificate_view view;
    const size_t head = sizeof(struct message_header);
    struct message_header message;
    memcpy(&message, bytes, sizeof message);
    if (message.size != size || message.reserved_0 != 0 ||
        certificate_decode((const uint8_t *)bytes + head, size - head, &view) != STATUS_OK ||
        !is_ours(c, &view.record) || view.record.node_id != from) {
        c->refused_total++;
        return;
    }
    c->received_total++;
    if (c->size == 0 || certificate_is_newer(&view.record, &c->record))
        keep(c, &view, (const uint8_t *)bytes + head, size - head);
}

/* ---- making ---- */

static void sign(struct certificates *c, struct certificate_view *view,
                 uint8_t signature[CERTIFICATE_SIGNATURE_SIZE_MAX])
{
    if (c->signer == NULL)
        return;
    uint8_t message[sizeof CERTIFICATE_SCHEME + sizeof view->record];
    memcpy(message, CERTIFICATE_SCHEME, sizeof CERTIFICATE_SCHEME);
    memcpy(message + sizeof CERTIFICATE_SCHEME, &view->record, sizeof view->record);
    size_t size = 0;
    enum status status =
        c->signer->sign(c->signer->context, message, sizeof message, signature, &size);
    if (status != STATUS_OK) {
        if (!c->sign_failed_told)
            notify_event(c->notify, "certificate_unsigned",
                         "the certificate could not be signed with this node's key, so nobody will "
                         "believe it; look at tls.key",
                         status, view->record.index);
        c->sign_failed_told = true;
        return;
    }
    c->sign_failed_told = false;
    invariant_values(size > 0 && size <= CERTIFICATE_SIGNATURE_SIZE_MAX, size, 0);
    view->signature = signature;
    view->signature_size = (uint32_t)size;
    view->chain_size = (uint32_t)c->signer->chain(c->signer->context, &view->chain);
    invariant_values(view->chain_size <= CERTIFICATE_CHAIN_SIZE_MAX, view->chain_size, 0);
}

static void send(struct certificates *c)
{
    struct consensus_peer peers[MEMBERS_MAX];
    if (c->transport == NULL)
        return;
    const uint32_t count = consensus_peers(c->consensus, peers, MEMBERS_MAX);
    const struct message_header message = {.type = MESSAGE_CERTIFICATE,
                                           .size = (uint32_t)(sizeof message + c->size)};
    const struct transport_part parts[] = {{&message, sizeof message}, {c->bytes, c->size}};
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].member.node_id != c->identity->node_id)
            /* Lost with its link or a full queue: the next one comes soon and says more. */
            (void)transport_send(c->transport, peers[i].member.node_id, TRANSPORT_RAFT, parts, 2);
}

/* What the log says about durability, and what is measured to be on both sites. Whatever is only
 * appended makes the claim weaker, never stronger: a mode that may become DEGRADED is DEGRADED. */
static void fill_rule(struct certificates *c, struct certificate_record *record)
{
    struct consensus_durability durability;
    consensus_durability(c->consensus, &durability);
    const bool degraded = durability.newest.mode == DURABILITY_DEGRADED ||
                          durability.committed.mode == DURABILITY_DEGRADED;
    record->mode = degraded ? DURABILITY_DEGRADED : DURABILITY_SYNC;
    record->policy = (uint8_t)durability.committed.policy.decision;
    record->rule = durability.in_force ? CERTIFICATE_SITE : CERTIFICATE_MAJORITY;
    record->number = durability.committed.number;
    record->log_number =
        durability.newest.number > record->number ? durability.newest.number : record->number;
    if (!durability.in_force)
        return; /* nothing is known of both sites */
    record->both_index =
        durability.both_index < record->index ? durability.both_index : record->index;
}

/* How far our clock is ahead of the earliest that is known. Clocks are compared in each read round,
 * and the one that ended just now was answered by one other member at least: so a clock of ours
 * that was set a moment ago shows, whatever is still known of the others from before. */
static uint64_t clock_ahead_ns(const struct certificates *c)
{
    struct consensus_peer peers[MEMBERS_MAX];
    int64_t earliest = 0;
    const uint32_t count = consensus_peers(c->consensus, peers, MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].member.node_id != c->identity->node_id && peers[i].clock_known &&
            peers[i].clock_offset_ns < earliest)
            earliest = peers[i].clock_offset_ns;
    return (uint64_t)-earliest;
}

/* A majority has said, after asked_wall_ns, that our term stands. */
static void draft(struct certificates *c)
{
    struct consensus_status consensus;
    consensus_status(c->consensus, &consensus);
    c->making = CERTIFICATE_RESTS;
    if (!consensus.ready || consensus.term != c->asked_term)
        return;
    if (c->sequence_term != consensus.term) {
        c->sequence_term = consensus.term;
        c->sequence = 0;
    }
    struct certificate_record *record = &c->draft;
    certificate_record_begin(record);
    memcpy(record->cluster_id, c->identity->cluster_id, sizeof record->cluster_id);
    record->cluster_epoch = c->identity->cluster_epoch;
    record->node_id = c->identity->node_id;
    memcpy(record->incarnation, c->identity->incarnation, sizeof record->incarnation);
    record->term = consensus.term;
    record->sequence = ++c->sequence;
    const uint64_t ahead_ns = planted(PLANTED_CERTIFICATE_BY_OWN_CLOCK) ? 0 : clock_ahead_ns(c);
    if (planted(PLANTED_CERTIFICATE_AFTER_ROUND))
        c->asked_wall_ns = c->environment->wall_ns(c->environment->context);
    record->wall_ns = c->asked_wall_ns > ahead_ns ? c->asked_wall_ns - ahead_ns : 0;
    record->index = consensus.commit_index;
    fill_rule(c, record);
    c->making = CERTIFICATE_WAITS;
}

/* Once entry N is synced here: its head, the signature, and off it goes. The draft is true whoever
 * leads by now; only where N cannot be looked up any more it is dropped. */
static void finish(struct certificates *c, uint64_t stamp)
{
    struct journal_position position;
    journal_position(c->journal, &position);
    struct certificate_record *record = &c->draft;
    if (record->index > position.synced_index)
        return;
    c->making = CERTIFICATE_RESTS;
    if (record->index < position.anchor_index)
        return;
    enum status status = STATUS_OK;
    if (record->index == position.synced_index)
        memcpy(record->head, position.head, sizeof record->head);
    else
        status = journal_head(c->journal, record->index, record->head);
    if (status == STATUS_OK)
        status = journal_term(c->journal, record->index, &record->index_term);
    if (status == STATUS_NOT_FOUND)
        return;
    if (status != STATUS_OK) {
        notify_fail(c->notify, status,
                    "the journal could not be read for a certificate; look at the disk before the "
                    "next start");
        return;
    }
    record->stamp = stamp;
    uint8_t signature[CERTIFICATE_SIGNATURE_SIZE_MAX];
    uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view = {.record = *record};
    sign(c, &view, signature);
    const size_t size = certificate_encode(&view, bytes);
    struct certificate_view again;
    invariant(certificate_decode(bytes, size, &again) == STATUS_OK);
    keep(c, &view, bytes, size);
    c->made_total++;
    send(c);
}

static void confirmation_cb(struct consensus_confirmation *confirmation, enum status status,
                            uint64_t index)
{
    struct certificates *c =
        (struct certificates *)(void *)((char *)confirmation -
                                        offsetof(struct certificates, confirmation));
    (void)index; /* of the beginning of the round: N is what is committed now */
    if (status == STATUS_OK)
        draft(c);
    else
        c->making = CERTIFICATE_RESTS;
}

static void begin(struct certificates *c)
{
    struct consensus_status consensus;
    const uint64_t now = now_ns(c);
    if (c->making != CERTIFICATE_RESTS || c->confirmation.in_flight)
        return;
    consensus_status(c->consensus, &consensus);
    const bool changed = consensus.durability_number != c->told_number;
    if (!consensus.ready || (now < c->next_ns && !changed))
        return;
    c->told_number = consensus.durability_number;
    c->next_ns = now + CERTIFICATE_MS * NS_PER_MS;
    c->asked_term = consensus.term;
    c->asked_wall_ns = c->environment->wall_ns(c->environment->context); /* before the round */
    c->making = CERTIFICATE_ASKS;
    consensus_confirm(c->consensus, &c->confirmation);
}

void certificates_attach(struct certificates *c, struct consensus *consensus,
                         struct journal *journal)
{
    c->consensus = consensus;
    c->journal = journal;
    c->confirmation = (struct consensus_confirmation){.cb = confirmation_cb};
    c->making = CERTIFICATE_RESTS;
    c->next_ns = 0;
}

/* ---- the file ---- */

static void give_to_job(struct certificates *c, uint64_t now)
{
    memcpy(c->job_bytes, c->bytes, c->size);
    c->job_size = c->size;
    c->unwritten = false;
    c->written_ns = now;
    atomic_store(&c->job, FILE_WANTED);
    c->wake_job(c->wake_context);
}

static void take_from_job(struct certificates *c)
{
    if (atomic_load(&c->job) != FILE_WRITTEN)
        return;
    atomic_store(&c->job, FILE_RESTS);
    const bool failed = c->job_status != STATUS_OK;
    if (failed && !c->write_failed_told)
        notify_event(c->notify, "certificate_unwritten",
                     "the file certificate could not be replaced; after a loss an older one will "
                     "have to do; look at the disk",
                     c->job_status, c->record.index);
    c->write_failed_told = failed;
    c->unwritten |= failed;
}

static void write_file(struct certificates *c)
{
    const uint64_t now = now_ns(c);
    take_from_job(c);
    if (c->unwritten && atomic_load(&c->job) == FILE_RESTS &&
        (c->written_ns == 0 || now - c->written_ns >= CERTIFICATE_FILE_MS * NS_PER_MS))
        give_to_job(c, now);
}

void certificates_job_step(struct certificates *c)
{
    if (atomic_load(&c->job) != FILE_WANTED)
        return;
    c->job_status = files_replace(c->files, CERTIFICATE_FILE, c->job_bytes, c->job_size);
    atomic_store(&c->job, FILE_WRITTEN);
}

void certificates_stop(struct certificates *c)
{
    take_from_job(c);
    if (c->unwritten && c->size > 0 && atomic_load(&c->job) == FILE_RESTS)
        give_to_job(c, now_ns(c));
}

/* ---- the turn ---- */

void certificates_process(struct certificates *c, uint64_t stamp)
{
    begin(c);
    if (c->making == CERTIFICATE_WAITS)
        finish(c, stamp);
    write_file(c);
}

uint64_t certificates_next_ns(const struct certificates *c)
{
    struct consensus_status consensus;
    uint64_t next = UINT64_MAX;
    consensus_status(c->consensus, &consensus);
    if (consensus.ready && c->making == CERTIFICATE_RESTS)
        next = c->next_ns;
    if (c->unwritten && atomic_load(&c->job) == FILE_RESTS) {
        const uint64_t file_ns = c->written_ns + CERTIFICATE_FILE_MS * NS_PER_MS;
        next = file_ns < next ? file_ns : next;
    }
    return next;
}
