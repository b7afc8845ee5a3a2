/*
 * A verdict that says less than is true is only a pity; one that says more is a violation:
 *
 *  - PROVEN_ZERO, and something acknowledged is not in the journal that it names;
 *  - BOUNDED_BY_TIME, and something acknowledged before that time is not.
 *
 * What was acknowledged the oracle knows, what a disk holds the holdings of the dead. Of the
 * entries at one index the committed one has the greatest term (Raft's leader completeness).
 * Certificates of the time of faults are left out where their time counts: their maker's clock may
 * have been an hour off, and a verdict names the clock that it believes.
 */
#include "chaos/sim/aftermath.h"

#include "replication/directory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum status judge_signature(void *context, const struct certificate_view *view,
                                   char *out_reason, size_t capacity)
{
    (void)context, (void)view, (void)out_reason, (void)capacity;
    return STATUS_OK; /* nobody forges here */
}

/* ---- the loss ---- */

static void cut_off(struct aftermath *aftermath, const char *place)
{
    for (uint32_t i = 0; i < aftermath->host_count; i++) {
        if (strcmp(aftermath->hosts[i].site, place) != 0)
            continue;
        aftermath->hosts[i].unreachable = true;
        for (uint32_t j = 0; j < aftermath->host_count; j++)
            if (strcmp(aftermath->hosts[j].site, place) != 0) {
                network_set_cut(aftermath->network, i, j, true);
                network_set_cut(aftermath->network, j, i, true);
            }
    }
}

static void stop_all(struct aftermath *aftermath, struct draw *draw)
{
    for (uint32_t i = 0; i < aftermath->host_count; i++)
        aftermath->hosts[i].wanted = false;
    for (uint32_t i = 0; i < aftermath->host_count; i++)
        host_kill(&aftermath->hosts[i], draw_chance(draw, 1, 2));
}

/* ---- the evidence ---- */

struct evidence {
    struct survivor survivors[HOSTS_MAX];
    uint32_t hosts[HOSTS_MAX]; /* their numbers */
    uint32_t count;
};

static bool add(struct evidence *evidence, struct host *host)
{
    const struct survivor_judge judge = {.signature = judge_signature};
    struct survivor *survivor = &evidence->survivors[evidence->count];
    char error[512];
    if (disk_open_directory(&host->disk, HOST_DIRECTORY, &survivor->files) != STATUS_OK)
        return false;
    survivor->path = host->site;
    evidence->hosts[evidence->count++] = host->number;
    return survivor_read(survivor, &judge, error, sizeof error) == STATUS_OK;
}

static bool survey(struct evidence *evidence, struct aftermath *aftermath)
{
    struct survivor_head asked[HOSTS_MAX];
    uint32_t asked_count = 0;
    for (uint32_t i = 0; i < evidence->count; i++)
        if (evidence->survivors[i].certificate_state == SURVIVOR_CERTIFICATE_GOOD)
            asked[asked_count++] =
                (struct survivor_head){.index = evidence->survivors[i].certificate.index};
    for (uint32_t i = 0; i < evidence->count; i++) {
        struct survivor *survivor = &evidence->survivors[i];
        struct generation generation;
        struct files journal;
        char name[DIRECTORY_NAME_MAX], path[DISK_NAME_SIZE];
        memcpy(survivor->heads, asked, asked_count * sizeof asked[0]);
        survivor->head_count = asked_count;
        if (current_read(&survivor->files, &generation) != STATUS_OK)
            return false;
        directory_generation_name(DIRECTORY_JOURNAL, generation.journal, name);
        snprintf(path, sizeof path, "%s/%s", HOST_DIRECTORY, name);
        struct disk *disk = &aftermath->hosts[evidence->hosts[i]].disk;
        if (disk_open_directory(disk, path, &journal) != STATUS_OK)
            return false;
        const enum status status = survivor_survey(survivor, &journal);
        disk_close_directory(&journal);
        if (status != STATUS_OK)
            return false;
    }
    return true;
}

/* ---- the truth ---- */

/* Of the committed entry `index`; 0: nobody has it any more. */
static uint64_t term_of(const struct aftermath *aftermath, uint64_t index)
{
    uint64_t term = 0;
    for (uint32_t i = 0; i < aftermath->host_count; i++) {
        const struct holding *gone = &aftermath->checks->holdings.gone[i];
        if (!gone->known || index < gone->first_index || index > gone->synced_index)
            continue;
        if (gone->terms[index - gone->first_index] > term)
            term = gone->terms[index - gone->first_index];
    }
    return term;
}

static bool is_held(const struct aftermath *aftermath, uint32_t host, uint64_t index)
{
    const uint64_t term = term_of(aftermath, index);
    return index == 0 || term == 0 || holdings_has(&aftermath->checks->holdings, host, index, term);
}

/* Whether that journal, as it was presented, has the entry: a disk that lost its power may have
 * kept by chance what its host had not called synced. A last entry of the same term or a later one
 * stands behind the same entries. */
static bool is_presented(const struct aftermath *aftermath, const struct evidence *evidence,
                         uint32_t place, uint64_t index)
{
    const struct survivor *survivor = &evidence->survivors[place];
    return is_held(aftermath, evidence->hosts[place], index) ||
           (survivor->last_index >= index && survivor->last_term >= term_of(aftermath, index));
}

static void compare(struct aftermath *aftermath, const struct evidence *evidence,
                    const struct verdict_answer *answer)
{
    const uint64_t acknowledged = aftermath->oracle->acknowledged_index;
    aftermath->lost = true;
    for (uint32_t i = 0; i < evidence->count; i++)
        if (is_presented(aftermath, evidence, i, acknowledged))
            aftermath->lost = false;
    if (answer->best == NULL)
        return;
    const uint32_t place = (uint32_t)(answer->best - evidence->survivors);
    const uint32_t best = evidence->hosts[place];
    if (answer->verdict == VERDICT_PROVEN_ZERO &&
        !is_presented(aftermath, evidence, place, acknowledged))
        world_violate(aftermath->world,
                      "the certificate claims too much: PROVEN_ZERO by %s, and %" PRIu64
                      ", acknowledged, is not in the journal of host %u that it names",
                      verdict_basis_name(answer->basis), acknowledged, best);
    const uint64_t begin_ns = WORLD_WALL_NS + aftermath->world->slept_ns;
    if (answer->verdict != VERDICT_BOUNDED_BY_TIME ||
        answer->known_ns < begin_ns + aftermath->calm_ns)
        return;
    const uint64_t index = oracle_index_before(aftermath->oracle, answer->known_ns - begin_ns);
    if (!is_presented(aftermath, evidence, place, index))
        world_violate(aftermath->world,
                      "the certificate claims too much: BOUNDED_BY_TIME by %s at %.6f s, and "
                      "%" PRIu64 ", acknowledged before, is not in the journal of host %u",
                      verdict_basis_name(answer->basis),
                      (double)(answer->known_ns - begin_ns) / 1e9, index, best);
}

void aftermath_run(struct aftermath *aftermath)
{
    static const char *const places[] = {"A", "B", "W"};
    struct draw draw = draw_stream(aftermath->world->seed, 9800);
    aftermath->clients->quiet = false;
    if (!world_run_until(aftermath->world,
                         aftermath->world->now_ns + draw_below(&draw, 2 * NS_PER_S)))
        return;
    if (draw_chance(&draw, 3, 4))
        cut_off(aftermath, places[draw_below(&draw, 3)]);
    if (!world_run_until(aftermath->world,
                         aftermath->world->now_ns + draw_below(&draw, 4 * NS_PER_S)))
        return;
    const uint64_t lost_at_ns = world_wall_ns(aftermath->world);
    stop_all(aftermath, &draw);
    struct evidence *evidence = sim_allocate(sizeof *evidence);
    const uint64_t sure = draw_below(&draw, aftermath->host_count);
    bool readable = true;
    for (uint32_t i = 0; i < aftermath->host_count && readable; i++)
        if (i == sure || draw_chance(&draw, 1, 2))
            readable = add(evidence, &aftermath->hosts[i]);
    const struct verdict_question question = {
        .survivors = evidence->survivors, .count = evidence->count, .lost_at_ns = lost_at_ns};
    struct verdict_answer answer;
    if (!readable || !survey(evidence, aftermath)) {
        world_violate(aftermath->world, "the disks of dead nodes cannot be read for a verdict");
    } else if (certificate_judge(&question, &answer) == STATUS_OK) {
        aftermath->done = true;
        aftermath->verdict = answer.verdict;
        compare(aftermath, evidence, &answer);
        world_note(aftermath->world, "verdict", answer.verdict, answer.basis, aftermath->lost);
        world_say(aftermath->world, "%u disks: %s by %s: %s", evidence->count,
                  verdict_name(answer.verdict), verdict_basis_name(answer.basis), answer.text);
    }
    for (uint32_t i = 0; i < evidence->count; i++)
        disk_close_directory(&evidence->survivors[i].files);
    free(evidence);
}
