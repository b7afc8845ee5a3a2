/*
 * Reading what is left. Everything is taken as found by somebody who may have changed it: the
 * certificate counts by its signature, the journal by its checksums and its chain, and a journal
 * with any damage, or in quarantine, does not count at all. (A tail that the next start would cut
 * as torn is no damage: nobody was told of it.)
 *
 * The journal's own word. Without a certificate a journal still says something about time. Let e be
 * an entry that is *known to be committed*, and whose stamp s is its leader's clock when it was
 * proposed. Whatever was acknowledged before s is below e: by e's leader or an earlier one, since e
 * was given the next index of a log that held all of that; by a later leader, not at all, since one
 * that was elected before e was there does not have it, and two logs that both hold what it
 * committed are the same below, so e would not be committed.
 * Which entries are committed a journal does not say of itself. What does: a digest entry names an
 * index that its leader had applied; and `current` says how far a copy was committed. An entry that
 * is merely last may have been proposed by a leader that had been voted out long ago, so it bounds
 * nothing. And a stamp is the clock's only if it is above the next one in the order of stamps: a
 * clock that was set back makes stamps run ahead of it, one by one. That is judged inside of one
 * term only; what the leader's last stamp was when its term began the journal may not show.
 */
#include "replication/node/certificate_survivor.h"

#include "core/command.h"
#include "replication/agreed.h"
#include "replication/node/certificate.h"
#include "replication/node/digests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the directory ---- */

static enum status read_file(const struct files *files, const char *name, uint8_t *out,
                             size_t capacity, size_t *out_size)
{
    struct file *file = NULL;
    uint64_t size = 0;
    enum status status = files->open(files->context, name, FILE_READ, &file);
    if (status != STATUS_OK)
        return status;
    status = files->size(files->context, file, &size);
    if (status == STATUS_OK && size > capacity)
        status = STATUS_INVALID;
    if (status == STATUS_OK)
        status = files->read(files->context, file, out, (size_t)size, 0);
    files->close(files->context, file);
    *out_size = (size_t)size;
    return status;
}

static void refuse_certificate(struct survivor *survivor, const char *text)
{
    survivor->certificate_state = SURVIVOR_CERTIFICATE_REFUSED;
    snprintf(survivor->certificate_text, sizeof survivor->certificate_text, "%s", text);
}

static void read_certificate(struct survivor *survivor, const struct survivor_judge *judge)
{
    static uint8_t bytes[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    size_t size = 0;
    enum status status = read_file(&survivor->files, CERTIFICATE_FILE, bytes, sizeof bytes, &size);
    survivor->certificate_state = SURVIVOR_NO_CERTIFICATE;
    if (status == STATUS_NOT_FOUND)
        return;
    if (status == STATUS_OK)
        status = certificate_decode(bytes, size, &view);
    if (status != STATUS_OK) {
        refuse_certificate(survivor, status == STATUS_VERSION
                                         ? "of another version than this program knows"
                                         : "it is no certificate (cut off, or changed)");
        return;
    }
    survivor->certificate = view.record;
    if (memcmp(view.record.cluster_id, survivor->identity.cluster_id,
               sizeof view.record.cluster_id) != 0 ||
        view.record.cluster_epoch != survivor->identity.cluster_epoch) {
        refuse_certificate(survivor, "it is of another cluster, or of another epoch of it");
        return;
    }
    if (view.signature_size == 0) {
        refuse_certificate(survivor, "it is not signed");
        return;
    }
    survivor->certificate_state = SURVIVOR_CERTIFICATE_GOOD;
    char reason[sizeof survivor->certificate_text] = "";
    if (judge->signature(judge->context, &view, reason, sizeof reason) != STATUS_OK)
        refuse_certificate(survivor, reason);
}

enum status survivor_read(struct survivor *survivor, const struct survivor_judge *judge,
                          char *out_error, size_t capacity)
{
    enum status status = identity_read(&survivor->files, &survivor->identity);
    if (status != STATUS_OK) {
        snprintf(out_error, capacity, "%s/" DIRECTORY_IDENTITY ": %s; this is no data directory",
                 survivor->path, status_text(status));
        return status;
    }
    status = quarantine_read(&survivor->files, survivor->quarantine_text,
                             sizeof survivor->quarantine_text);
    survivor->quarantined = status == STATUS_OK;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
        snprintf(out_error, capacity, "%s/" QUARANTINE_FILE ": %s", survivor->path,
                 status_text(status));
        return status;
    }
    read_certificate(survivor, judge);
    return STATUS_OK;
}

/* ---- the journal ---- */

struct change {
    uint64_t index;
    bool is_members;
    bool understood;
    struct member_table members;
    struct durability_entry durability;
};

struct stamp {
    uint64_t index;
    uint64_t stamp;
    bool own; /* the clock's, not the last stamp plus one */
};
#define STAMPS_MAX (2 * DIGEST_INTERVAL)

struct survey {
    struct survivor *survivor;
    struct change *changes; /* SURVIVOR_CHANGES_MAX, ascending */
    uint32_t change_count;
    uint64_t dropped_index; /* of the newest change that found no room any more */
    struct stamp stamps[STAMPS_MAX];
    uint32_t stamp_count;
    /* Of the stamped entry before: its term, and the stamp that a clock which stands still gives to
     * the next. Term 0: there is none to judge by. */
    uint64_t stamped_term, next_stamp;
};

static struct change *add_change(struct survey *survey, uint64_t index)
{
    if (survey->change_count == SURVIVOR_CHANGES_MAX) {
        survey->dropped_index = survey->changes[0].index;
        memmove(survey->changes, survey->changes + 1,
                (SURVIVOR_CHANGES_MAX - 1) * sizeof *survey->changes);
        survey->change_count--;
    }
    uint32_t place = survey->change_count++;
    for (; place > 0 && survey->changes[place - 1].index > index; place--)
        survey->changes[place] = survey->changes[place - 1];
    struct change *change = &survey->changes[place];
    memset(change, 0, sizeof *change);
    change->index = index;
    return change;
}

static void note_head(struct survivor *survivor, uint64_t index, uint64_t term,
                      const uint8_t head[JOURNAL_HASH_SIZE])
{
    for (uint32_t i = 0; i < survivor->head_count; i++) {
        struct survivor_head *asked = &survivor->heads[i];
        if (asked->index != index)
            continue;
        asked->state = SURVIVOR_HEAD_THERE;
        asked->term = term;
        memcpy(asked->head, head, sizeof asked->head);
    }
}

static void take_members(struct survey *survey, uint64_t index, const void *bytes, size_t size)
{
    struct change *change = add_change(survey, index);
    change->is_members = true;
    change->understood = member_table_decode(bytes, size, &change->members) == STATUS_OK;
}

static void take_durability(struct survey *survey, uint64_t index, const void *bytes, size_t size)
{
    struct change *change = add_change(survey, index);
    change->understood = durability_entry_decode(bytes, size, &change->durability) == STATUS_OK;
    survey->stamped_term = 0; /* it has a stamp, too: the next command is not judged by the last */
}

/* Or it would find no room. */
static bool is_known(const struct survey *survey, uint64_t index, bool is_members)
{
    if (index <= survey->dropped_index)
        return true;
    for (uint32_t i = 0; i < survey->change_count; i++)
        if (survey->changes[i].index == index && survey->changes[i].is_members == is_members)
            return true;
    return false;
}

/* What a segment begins with: it is committed. The first one may have been begun while a change was
 * not yet, and when the segment with its entry is pruned only a later one knows of it. */
static void take_agreed(struct survey *survey, const void *bytes, size_t size)
{
    struct agreed agreed;
    if (size == 0 || agreed_decode(bytes, size, &agreed) != STATUS_OK)
        return;
    if (agreed.configuration_size > 0 && !is_known(survey, agreed.configuration_index, true))
        take_members(survey, agreed.configuration_index, agreed.configuration,
                     agreed.configuration_size);
    if (agreed.durability_index == 0 || is_known(survey, agreed.durability_index, false))
        return;
    struct change *change = add_change(survey, agreed.durability_index);
    change->understood = true;
    change->durability = agreed.durability;
}

static void visit_anchor(void *context, const struct journal_anchor *anchor)
{
    struct survey *survey = context;
    struct survivor *survivor = survey->survivor;
    survivor->last_index = anchor->index;
    survivor->last_term = anchor->term;
    for (uint32_t i = 0; i < survivor->head_count; i++)
        if (survivor->heads[i].index < anchor->index)
            survivor->heads[i].state = SURVIVOR_HEAD_PRUNED;
    note_head(survivor, anchor->index, anchor->term, anchor->head);
    take_agreed(survey, anchor->configuration, anchor->configuration_size);
}

static void visit_configuration(void *context, const void *bytes, size_t size)
{
    take_agreed(context, bytes, size);
}

/* ---- the journal's own word ---- */

/* Entries up to `index` are committed. */
static void prove(struct survey *survey, uint64_t index)
{
    struct survivor *survivor = survey->survivor;
    if (index > survivor->proven_index)
        survivor->proven_index = index;
    for (uint32_t i = survey->stamp_count; i-- > 0;) {
        const struct stamp *stamp = &survey->stamps[i];
        if (!stamp->own || stamp->index > survivor->proven_index)
            continue;
        if (stamp->index > survivor->proven_entry) {
            survivor->proven_entry = stamp->index;
            survivor->proven_stamp = stamp->stamp;
        }
        return;
    }
}

static void note_stamp(struct survey *survey, const struct journal_entry *entry)
{
    struct command_cursor cursor;
    if (command_cursor_init(&cursor, entry->payload, entry->size) != STATUS_OK)
        return;
    if (survey->stamp_count == STAMPS_MAX) {
        memmove(survey->stamps, survey->stamps + STAMPS_MAX / 2,
                STAMPS_MAX / 2 * sizeof survey->stamps[0]);
        survey->stamp_count = STAMPS_MAX / 2;
    }
    survey->stamps[survey->stamp_count++] = (struct stamp){
        .index = entry->index,
        .stamp = cursor.stamp,
        .own = survey->stamped_term == entry->term && cursor.stamp > survey->next_stamp,
    };
    survey->stamped_term = entry->term;
    survey->next_stamp = cursor.stamp + cursor.stamps_left;
    if (entry->index <= survey->survivor->proven_index)
        prove(survey, survey->survivor->proven_index);
}

static void visit_entry(void *context, const struct journal_entry *entry,
                        const uint8_t head[JOURNAL_HASH_SIZE])
{
    struct survey *survey = context;
    struct survivor *survivor = survey->survivor;
    survivor->last_index = entry->index;
    survivor->last_term = entry->term;
    note_head(survivor, entry->index, entry->term, head);
    struct digest_entry digest;
    switch (entry->type) {
    case JOURNAL_COMMAND:
        note_stamp(survey, entry);
        break;
    case JOURNAL_CONFIGURATION:
        take_members(survey, entry->index, entry->payload, entry->size);
        break;
    case JOURNAL_DURABILITY:
        take_durability(survey, entry->index, entry->payload, entry->size);
        break;
    case JOURNAL_DIGEST:
        if (entry->size != sizeof digest)
            break;
        memcpy(&digest, entry->payload, sizeof digest);
        if (digest.index < entry->index)
            prove(survey, digest.index);
        break;
    default:
        break;
    }
}

static void visit_truncated(void *context, uint64_t index, uint64_t term,
                            const uint8_t head[JOURNAL_HASH_SIZE])
{
    struct survey *survey = context;
    struct survivor *survivor = survey->survivor;
    survivor->last_index = index;
    survivor->last_term = term;
    for (uint32_t i = 0; i < survivor->head_count; i++)
        if (survivor->heads[i].index > index)
            survivor->heads[i].state = SURVIVOR_HEAD_ABSENT;
    note_head(survivor, index, term, head);
    while (survey->change_count > 0 && survey->changes[survey->change_count - 1].index > index)
        survey->change_count--;
    while (survey->stamp_count > 0 && survey->stamps[survey->stamp_count - 1].index > index)
        survey->stamp_count--;
    /* Another leader's entries follow: whether its stamps are the clock's the first does not show.
     */
    survey->next_stamp = UINT64_MAX;
}

/* What was in force at the end. Not understood, or perhaps dropped for want of room: not known. */
static void conclude(struct survey *survey)
{
    struct survivor *survivor = survey->survivor;
    bool members = false, durability = false, all_understood = true;
    durability_entry_default(&survivor->durability);
    for (uint32_t i = survey->change_count; i-- > 0;) {
        const struct change *change = &survey->changes[i];
        if (change->is_members && !members) {
            members = true;
            survivor->members_known = change->understood;
            survivor->members = change->members;
        } else if (!change->is_members && !durability) {
            durability = true;
            all_understood &= change->understood;
            survivor->durability_index = change->index;
            if (change->understood)
                survivor->durability = change->durability;
        }
    }
    if ((!members || !durability) && survey->dropped_index != 0)
        all_understood = false;
    survivor->members_known &= all_understood;
}

enum status survivor_survey(struct survivor *survivor, const struct files *journal)
{
    struct generation generation = {0};
    struct survey survey = {.survivor = survivor};
    const struct journal_visitor visitor = {
        .context = &survey,
        .anchor = visit_anchor,
        .configuration = visit_configuration,
        .entry = visit_entry,
        .truncated = visit_truncated,
    };
    survivor->sound = survivor->members_known = false;
    survivor->proven_index = survivor->proven_entry = survivor->proven_stamp = 0;
    for (uint32_t i = 0; i < survivor->head_count; i++)
        survivor->heads[i].state = SURVIVOR_HEAD_ABSENT;
    survey.changes = calloc(SURVIVOR_CHANGES_MAX, sizeof *survey.changes);
    if (survey.changes == NULL)
        return STATUS_NO_MEMORY;
    if (current_read(&survivor->files, &generation) == STATUS_OK)
        survivor->proven_index = generation.committed_index;
    enum status status = journal_survey(journal, &visitor, &survivor->report);
    if (status == STATUS_OK) {
        conclude(&survey);
        survivor->sound = survivor->report.damage.status == STATUS_OK && !survivor->quarantined;
    }
    free(survey.changes);
    return status;
}

const struct survivor_head *survivor_head(const struct survivor *survivor, uint64_t index)
{
    for (uint32_t i = 0; i < survivor->head_count; i++)
        if (survivor->heads[i].index == index)
            return &survivor->heads[i];
    return NULL;
}
