/*
 * A table by index holds what was ever seen there: each (term, predecessor, payload) that some node
 * appended, the command that the first node applied with the state after it, and what was
 * acknowledged. Whoever comes later has to agree with it.
 */
#include "raft_checkers.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSIONS_MAX 8 /* entries that ever competed for one index; more are not remembered */

struct checked_index {
    struct {
        uint64_t term, previous_term, payload;
    } versions[VERSIONS_MAX];
    unsigned version_count;
    bool applied, acknowledged;
    uint64_t applied_command, applied_state, applied_term;
    uint64_t acknowledged_command, acknowledged_term;
};

void checkers_init(struct checkers *checkers)
{
    *checkers = (struct checkers){0};
}

void checkers_deinit(struct checkers *checkers)
{
    free(checkers->indexes);
    free(checkers->leader_of_term);
}

void checkers_violation(struct checkers *checkers, const char *format, ...)
{
    if (checkers->violation_count++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(checkers->first, sizeof checkers->first, format, arguments);
    va_end(arguments);
}

/* Memory for tests: running out of it ends the program. */
static void *grow(void *memory, size_t *capacity, size_t needed, size_t size)
{
    if (needed < *capacity)
        return memory;
    size_t wanted = *capacity * 2 > needed ? *capacity * 2 : needed + 64;
    char *grown = realloc(memory, wanted * size);
    if (grown == NULL)
        abort();
    memset(grown + *capacity * size, 0, (wanted - *capacity) * size);
    *capacity = wanted;
    return grown;
}

static struct checked_index *at(struct checkers *checkers, uint64_t index)
{
    checkers->indexes =
        grow(checkers->indexes, &checkers->index_capacity, index, sizeof *checkers->indexes);
    return &checkers->indexes[index];
}

void checkers_elected(struct checkers *checkers, const struct checked_leader *leader)
{
    checkers->leader_of_term = grow(checkers->leader_of_term, &checkers->term_capacity,
                                    leader->term, sizeof *checkers->leader_of_term);
    unsigned *of_term = &checkers->leader_of_term[leader->term];
    if (*of_term != 0 && *of_term != leader->node + 1)
        checkers_violation(checkers, "term %llu has two leaders: node %u and node %u",
                           (unsigned long long)leader->term, *of_term, leader->node + 1);
    *of_term = leader->node + 1;

    uint64_t last = checkers->last_acknowledged > checkers->last_applied
                        ? checkers->last_acknowledged
                        : checkers->last_applied;
    for (uint64_t i = leader->first_index; i <= last; i++) {
        const struct checked_index *seen = at(checkers, i);
        uint64_t command = 0;
        bool acknowledged = seen->acknowledged && seen->acknowledged_term < leader->term;
        bool applied = seen->applied && seen->applied_term < leader->term;
        if (!acknowledged && !applied)
            continue;
        uint64_t expected = acknowledged ? seen->acknowledged_command : seen->applied_command;
        if (i > leader->last_index)
            checkers_violation(checkers, "node %u leads term %llu without committed index %llu",
                               leader->node + 1, (unsigned long long)leader->term,
                               (unsigned long long)i);
        else if (!leader->lookup(leader->context, i, &command) || command != expected)
            checkers_violation(checkers, "node %u leads term %llu with another entry at index %llu",
                               leader->node + 1, (unsigned long long)leader->term,
                               (unsigned long long)i);
    }
}

void checkers_appended(struct checkers *checkers, const struct checked_entry *entry)
{
    struct checked_index *seen = at(checkers, entry->index);
    for (unsigned i = 0; i < seen->version_count; i++) {
        if (seen->versions[i].term != entry->term)
            continue;
        uint64_t *previous = &seen->versions[i].previous_term;
        bool same_previous =
            *previous == entry->previous_term || *previous == 0 || entry->previous_term == 0;
        if (seen->versions[i].payload != entry->payload || !same_previous)
            checkers_violation(
                checkers, "node %u appends another entry of index %llu, term %llu than before",
                entry->node + 1, (unsigned long long)entry->index, (unsigned long long)entry->term);
        if (*previous == 0)
            *previous = entry->previous_term;
        return;
    }
    if (seen->version_count == VERSIONS_MAX)
        return;
    seen->versions[seen->version_count].term = entry->term;
    seen->versions[seen->version_count].previous_term = entry->previous_term;
    seen->versions[seen->version_count].payload = entry->payload;
    seen->version_count++;
}

void checkers_applied(struct checkers *checkers, const struct checked_apply *apply)
{
    struct checked_index *seen = at(checkers, apply->index);
    if (!seen->applied) {
        seen->applied = true;
        seen->applied_command = apply->command;
        seen->applied_state = apply->state;
        seen->applied_term = apply->term;
    }
    if (apply->index > checkers->last_applied)
        checkers->last_applied = apply->index;
    if (seen->applied_command != apply->command || seen->applied_state != apply->state)
        checkers_violation(checkers, "node %u applies command %llu at index %llu, another had %llu",
                           apply->node + 1, (unsigned long long)apply->command,
                           (unsigned long long)apply->index,
                           (unsigned long long)seen->applied_command);
    if (seen->acknowledged && seen->acknowledged_command != apply->command)
        checkers_violation(checkers, "acknowledged command %llu at index %llu is lost",
                           (unsigned long long)seen->acknowledged_command,
                           (unsigned long long)apply->index);
}

void checkers_acknowledged(struct checkers *checkers, uint64_t index, uint64_t command,
                           uint64_t term)
{
    struct checked_index *seen = at(checkers, index);
    if ((seen->acknowledged && seen->acknowledged_command != command) ||
        (seen->applied && seen->applied_command != command))
        checkers_violation(checkers, "command %llu acknowledged at index %llu, where another is",
                           (unsigned long long)command, (unsigned long long)index);
    seen->acknowledged = true;
    seen->acknowledged_command = command;
    seen->acknowledged_term = term;
    checkers->acknowledged_count++;
    if (index > checkers->last_acknowledged)
        checkers->last_acknowledged = index;
}

void checkers_finish(struct checkers *checkers)
{
    for (uint64_t i = 1; i <= checkers->last_acknowledged; i++) {
        const struct checked_index *seen = at(checkers, i);
        if (seen->acknowledged && !seen->applied)
            checkers_violation(checkers, "acknowledged index %llu was never applied",
                               (unsigned long long)i);
    }
}
