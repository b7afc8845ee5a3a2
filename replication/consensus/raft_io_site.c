/*
 * What the guard's durability rule asks of us: where members are, which entries set the mode, and
 * how much a connection takes at this moment.
 *
 * Sites are names; the rule knows two of them, by number. The first voter with a ledger is at site
 * 0, and what the numbers mean may differ from configuration to configuration: nobody compares
 * them. A third site with data is none that the rule knows, and then it is not in force.
 */
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/durability_entry.h"

#include <string.h>

/* Head of a message, and what the transport puts around it. */
#define HEAD_BYTES 512u

struct sites {
    char names[2][MEMBER_SITE_SIZE_MAX + 1];
    unsigned count;
};

static enum site_place site_of(struct sites *sites, const char *name)
{
    for (unsigned i = 0; i < sites->count; i++) {
        if (strcmp(sites->names[i], name) == 0)
            return i == 0 ? SITE_PLACE_0 : SITE_PLACE_1;
    }
    if (sites->count == 2)
        return SITE_PLACE_OTHER;
    strcpy(sites->names[sites->count], name);
    return sites->count++ == 0 ? SITE_PLACE_0 : SITE_PLACE_1;
}

void raft_io_places(void *context, const struct raft_configuration *configuration,
                    enum site_place out_places[])
{
    (void)context;
    struct sites sites = {.count = 0};
    /* Voters first: who has no vote must not take a number from them. */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < configuration->n; i++) {
            const struct raft_server *server = &configuration->servers[i];
            struct member member;
            if ((server->role == RAFT_VOTER) != (pass == 0))
                continue;
            if (member_parse(server->id, server->address, &member) != STATUS_OK)
                out_places[i] = SITE_PLACE_OTHER;
            else if (member.kind == MEMBER_WITNESS)
                out_places[i] = SITE_PLACE_WITNESS;
            else
                out_places[i] = site_of(&sites, member.site);
        }
    }
}

/* libraft keeps a command as raft_io_load.c tells: type, zero, size, payload. */
bool raft_io_sets_mode(void *context, const struct raft_buffer *buffer,
                       enum durability_mode *out_mode)
{
    (void)context;
    const uint8_t *bytes = buffer->base;
    if (buffer->len < 8 + DURABILITY_ENTRY_SIZE)
        return false;
    uint16_t type;
    memcpy(&type, bytes, sizeof type);
    return type == JOURNAL_DURABILITY &&
           durability_entry_sets_mode(bytes + 8, buffer->len - 8, out_mode);
}

uint64_t raft_io_room(void *context, raft_id id)
{
    const struct consensus_raft *c = context;
    if (c->options.transport == NULL || c->stopped)
        return 0;
    const uint64_t room = transport_room(c->options.transport, id, TRANSPORT_RAFT);
    return room > HEAD_BYTES ? room - HEAD_BYTES : 0;
}
