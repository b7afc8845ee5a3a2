/*
 * Changing over: the moment when a finished copy takes the place of what was in use.
 *
 * By now everything new is synced, names included. One rename of `current` decides; before it the
 * old pair counts, after it the new one, and either is whole. Only then is the old pair removed; a
 * crash before that leaves directories that nobody names, which the next start removes.
 *
 * [safety] Term and vote are not part of a copy. But a journal must not hold entries of a later
 * term than the one promised: the term is raised first, with no vote given in it. That takes
 * nothing back, since a vote in an older term binds nobody in a newer one.
 */
#include "replication/catch_up/catch_up_build.h"

#include "core/planted_fault.h"
#include "storage/hard_state.h"

#include <string.h>

static enum status raise_term(const struct files *files, uint64_t term)
{
    struct hard_state state;
    enum status status = hard_state_read(files, &state);
    if (status != STATUS_OK || state.term >= term)
        return status;
    state = (struct hard_state){.term = term, .vote = 0};
    return hard_state_write(files, &state);
}

enum status catch_up_switch(const struct environment *environment, const struct files *files,
                            const char *directory, const struct catch_up_install *install)
{
    enum status status = raise_term(files, install->term);
    if (planted(PLANTED_OLD_PAIR_REMOVED_FIRST) && status == STATUS_OK)
        (void)catch_up_clean(environment, files, directory, &install->to);
    if (status == STATUS_OK)
        status = current_write(files, &install->to);
    if (status != STATUS_OK)
        return status;
    /* What cannot be removed now is tried again at every start. */
    (void)catch_up_clean(environment, files, directory, &install->to);
    return STATUS_OK;
}
