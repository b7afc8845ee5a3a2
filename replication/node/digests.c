/*
 * A replica that drifted cannot be told from a good one by its answers, until somebody loses money.
 * So state is compared as a function of the log: digest at index i is the same on every node, or
 * one of them is wrong. Which one is not ours to decide. The log says what the leader had; who
 * differs stops, and a majority goes on. Were the leader the wrong one, the others would stop and
 * it would be left without a majority: the cluster stands still rather than go on with a doubtful
 * state.
 *
 * A node knows the digests of what it applied since its start. Those of earlier entries it cannot
 * check and passes over; the next one comes DIGEST_INTERVAL entries later.
 *
 * Quarantine is a file that is durable before the process ends: the next start refuses, so that no
 * supervisor brings a drifted replica back by restarting it.
 */
#include "replication/node/digests.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct digest_entry *place_of(struct digests *digests, uint64_t index)
{
    return &digests->noted[index / DIGEST_INTERVAL % DIGESTS_KEPT];
}

void digests_note(struct digests *digests, const struct machine *machine)
{
    uint64_t index = machine_applied_index(machine);
    if (index % DIGEST_INTERVAL != 0)
        return;
    struct digest_entry *entry = place_of(digests, index);
    entry->index = index;
    machine_digest(machine, entry->digest);
    digests->newest = index;
}

const struct digest_entry *digests_newest(const struct digests *digests)
{
    if (digests->newest == 0)
        return NULL;
    return &digests->noted[digests->newest / DIGEST_INTERVAL % DIGESTS_KEPT];
}

static void print_digest(const uint8_t digest[16], char out[33])
{
    for (int i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void quarantine(struct digests *digests, const struct digest_entry *ours,
                       const struct digest_entry *agreed)
{
    char own[33], other[33], text[384];
    print_digest(ours->digest, own);
    print_digest(agreed->digest, other);
    snprintf(text, sizeof text,
             "after entry %" PRIu64 " the state here has digest %s, the leader's %s: these files "
             "differ from the cluster's and are quarantined; keep a copy for an inquiry, then run "
             "`tally node repair`",
             agreed->index, own, other);
    quarantine_write(digests->files, digests->notify, "the state differs from the leader's",
                     agreed->index, text);
    notify_fail(digests->notify, STATUS_CORRUPT, text);
}

bool digests_compare(struct digests *digests, const struct journal_entry *entry)
{
    if (digests->proposed && entry->index >= digests->proposal.index)
        digests->proposed = false;
    struct digest_entry agreed;
    if (entry->size != sizeof agreed)
        return true; /* no proposer writes it: nothing to compare, the same on every node */
    memcpy(&agreed, entry->payload, sizeof agreed);
    if (agreed.index > digests->in_log)
        digests->in_log = agreed.index;
    const struct digest_entry *ours = place_of(digests, agreed.index);
    if (agreed.index == 0 || ours->index != agreed.index)
        return true; /* before our start, or long ago */
    if (memcmp(ours->digest, agreed.digest, sizeof agreed.digest) == 0) {
        digests->compared = agreed.index;
        return true;
    }
    quarantine(digests, ours, &agreed);
    return false;
}

void digests_begin_term(struct digests *digests)
{
    digests->proposed = false;
}

void digests_propose(struct digests *digests, struct consensus *consensus)
{
    if (digests->proposed || digests->newest <= digests->in_log)
        return;
    digests->payload = *digests_newest(digests);
    digests->proposal = (struct consensus_proposal){
        .type = JOURNAL_DIGEST, .size = sizeof digests->payload, .payload = &digests->payload};
    enum status status = consensus_propose(consensus, &digests->proposal);
    if (status == STATUS_OK) {
        digests->proposed = true;
        return;
    }
    if (status != STATUS_BUSY && status != STATUS_READ_ONLY && status != STATUS_NOT_READY &&
        status != STATUS_NO_MEMORY)
        notify_fail(digests->notify, status, "the journal refused an entry");
}

void quarantine_write(const struct files *files, const struct notify *notify, const char *what,
                      uint64_t index, const char *text)
{
    enum status status = files_replace(files, QUARANTINE_FILE, text, strlen(text));
    char told[160];
    snprintf(told, sizeof told, "%s%s", what,
             status == STATUS_OK ? ": this node stops for good"
                                 : ", and that could not be written down");
    notify_event(notify, "quarantined", told, index, status);
}

enum status quarantine_read(const struct files *files, char *out_text, size_t capacity)
{
    invariant(capacity > 0);
    out_text[0] = 0;
    struct file *file = NULL;
    enum status status = files->open(files->context, QUARANTINE_FILE, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    uint64_t size = 0;
    status = files->size(files->context, file, &size);
    if (status == STATUS_OK && size >= capacity)
        size = capacity - 1;
    if (status == STATUS_OK && size > 0)
        status = files->read(files->context, file, out_text, (size_t)size, 0);
    files->close(files->context, file);
    out_text[status == STATUS_OK ? size : 0] = 0;
    return STATUS_OK; /* it is there: what it says is for people */
}
