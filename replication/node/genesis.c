/*
 * The first entries of a cluster: index 1 and 2, term 1.
 *
 * Entry 1 is the founder's configuration, in libraft's own encoding, with the founder as the only
 * voter. So the table of members has one history from the first entry on, and a node that reads a
 * journal from its beginning needs nothing besides.
 *
 * Entry 2 sets the principals: who may use the ledger is part of the replicated state from the
 * beginning, so that no node needs a list of its own. The rows are judged by the state machine
 * itself: the entry is applied to a small machine in memory, and any result other than OK is
 * reported with its row.
 */
#include "replication/node/genesis.h"

#include "core/invariant.h"
#include "replication/memory.h"
#include "replication/node/node_error.h"
#include "replication/node/propose.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct building {
    const struct node_init_options *options;
    const struct environment *environment;
    struct node_error *error;
    uint8_t *bytes; /* the entry of principals */
    uint32_t size;
};

/* ---- the configuration ---- */

static enum status build_configuration(const struct member *founder, struct journal_entry *out)
{
    const struct member_table table = {.count = 1, .members = {*founder}, .votes = {true}};
    uint8_t *bytes = malloc(MEMBER_TABLE_BYTES_MAX);
    if (bytes == NULL)
        return STATUS_NO_MEMORY;
    size_t size = member_table_encode(&table, bytes);
    invariant_values(size > 0, size, founder->node_id); /* the caller checked the member */
    *out = (struct journal_entry){
        .index = 1,
        .term = GENESIS_TERM,
        .type = JOURNAL_CONFIGURATION,
        .size = (uint32_t)size,
        .payload = bytes,
    };
    return STATUS_OK;
}

/* ---- the principals ---- */

static enum status build_principals(struct building *building)
{
    const struct node_init_options *options = building->options;
    if (options->principal_count == 0)
        return node_refuse(
            building->error, STATUS_INVALID,
            "no principals given: nobody could ever use this ledger; name at least the "
            "operators' certificates");
    size_t events_size = (size_t)options->principal_count * sizeof *options->principals;
    size_t size = sizeof(struct entry_header) + sizeof(struct request_header) + events_size;
    if (options->principal_count > PRINCIPALS_MAX || size > ENTRY_SIZE_MAX)
        return node_refuse(
            building->error, STATUS_INVALID,
            "%" PRIu32 " principals are too many for the first entry: at most %zu fit",
            options->principal_count,
            (ENTRY_SIZE_MAX - sizeof(struct entry_header) - sizeof(struct request_header)) /
                sizeof *options->principals);
    building->bytes = aligned_alloc(64, (size + 63) / 64 * 64);
    if (building->bytes == NULL)
        return node_refuse(building->error, STATUS_NO_MEMORY, "out of memory");
    building->size = (uint32_t)size;
    memset(building->bytes, 0, size);

    uint64_t stamp = building->environment->wall_ns(building->environment->context);
    struct entry_header header = {
        .version = COMMAND_VERSION,
        .size = (uint32_t)size,
        .stamp = stamp,
        .request_count = 1,
        .event_count = options->principal_count,
    };
    memcpy(building->bytes, &header, sizeof header);
    struct request_header *request =
        (struct request_header *)(void *)(building->bytes + sizeof header);
    request->operation = OPERATION_SET_PRINCIPALS;
    request->event_count = options->principal_count;
    request->issued_at_ns = stamp;
    building->environment->random(building->environment->context, request->nonce,
                                  sizeof request->nonce);
    memcpy(request + 1, options->principals, events_size);
    request_seal(request, 0);
    return STATUS_OK;
}

/* ---- the rows, judged by the machine ---- */

static bool no_transfer_by_id(void *context, const struct id128 *id, struct transfer_record *out)
{
    (void)context, (void)id, (void)out;
    return false;
}

static bool no_transfer_by_sequence(void *context, uint64_t sequence, struct transfer_record *out)
{
    (void)context, (void)sequence, (void)out;
    return false;
}

static bool no_request(void *context, uint32_t principal_name, const uint8_t nonce[16],
                       struct request_record *out, uint8_t *answer)
{
    (void)context, (void)principal_name, (void)nonce, (void)out, (void)answer;
    return false;
}

static void judge_rows(void *context, uint32_t position, const struct answer *answer)
{
    (void)position;
    struct building *building = context;
    if (answer->outcome != OUTCOME_EXECUTED) {
        node_refuse(building->error, STATUS_INVALID, "the principals are refused: %s: %s",
                    outcome_name(answer->outcome), outcome_explanation(answer->outcome));
        return;
    }
    for (uint32_t i = 0; i < answer->event_count; i++) {
        if (answer->results[i] == RESULT_OK || building->error->status != STATUS_OK)
            continue;
        const struct principal_event *row = &building->options->principals[i];
        node_refuse(building->error, STATUS_INVALID,
                    "principal %" PRIu32 " (%.*s) is refused: %s: %s", i + 1,
                    (int)(row->uri_size < 200 ? row->uri_size : 200), row->uri,
                    result_name(answer->results[i]), result_explanation(answer->results[i]));
    }
}

/* The table is only ever changed by a site operator: without one it stays as it is for ever. */
static bool has_site_operator(const struct machine *machine)
{
    for (uint32_t i = 0; i < machine_principal_count(machine); i++)
        if (machine_principal_at(machine, i)->role == ROLE_SITE_OPERATOR)
            return true;
    return false;
}

static enum status check_principals(struct building *building)
{
    const struct ledger_past past = {
        .transfer_by_id = no_transfer_by_id,
        .transfer_by_sequence = no_transfer_by_sequence,
        .request_by_nonce = no_request,
    };
    const struct machine_options options = {
        .memory = memory_pages(),
        .account_count_max = 1024,
        .epoch_transfer_count_max = REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 1024 * 1024,
    };
    struct machine *machine = NULL;
    enum status status = machine_create(&options, &past, &machine);
    if (status != STATUS_OK)
        return node_refuse(building->error, status, "no memory to check the principals");
    machine_apply_other(machine, 1, GENESIS_TERM); /* the configuration */
    machine_apply(machine, 2, GENESIS_TERM, building->bytes, building->size, judge_rows, building);
    if (building->error->status == STATUS_OK && !has_site_operator(machine))
        node_refuse(building->error, STATUS_INVALID,
                    "none of the %" PRIu32
                    " principals has the role site_operator, so nobody could "
                    "ever change them; give that role to at least one certificate",
                    building->options->principal_count);
    machine_destroy(machine);
    return building->error->status;
}

/* ---- both ---- */

enum status genesis_build(struct genesis *genesis, const struct node_init_options *options,
                          const struct member *founder, const struct environment *environment,
                          struct node_error *out_error)
{
    struct building building = {.options = options, .environment = environment, .error = out_error};
    *genesis = (struct genesis){0};
    enum status status = build_principals(&building);
    if (status == STATUS_OK)
        status = check_principals(&building);
    if (status == STATUS_OK) {
        status = build_configuration(founder, &genesis->entries[GENESIS_CONFIGURATION]);
        if (status != STATUS_OK)
            node_refuse(out_error, status, "out of memory");
    }
    if (status != STATUS_OK) {
        free(building.bytes);
        return status;
    }
    genesis->entries[GENESIS_PRINCIPALS] = (struct journal_entry){
        .index = 2,
        .term = GENESIS_TERM,
        .type = JOURNAL_COMMAND,
        .size = building.size,
        .payload = building.bytes,
    };
    return STATUS_OK;
}

void genesis_release(struct genesis *genesis)
{
    for (int i = 0; i < GENESIS_ENTRY_COUNT; i++) {
        free((void *)(uintptr_t)genesis->entries[i].payload);
        genesis->entries[i].payload = NULL;
    }
}
