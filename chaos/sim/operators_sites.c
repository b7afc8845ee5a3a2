/*
 * What operators do with a whole site: switchover, drain, resume, by the node's own walk
 * (site_operation.h), in the middle of whatever else goes on. One command at a time is under way
 * here; a second one meanwhile is asked as well now and then, and has to be refused.
 *
 * A command ends with its callback, once, within the bounds of its steps, unless its process ends
 * before: that is what is demanded of it here. What it does to the ledger's promises is for the
 * checks that are there anyway. A site that stays drained is put back by whoever restores the rule.
 */
#include "chaos/sim/operators.h"
#include "core/invariant.h"
#include "replication/node/node_internal.h"
#include "replication/node/node_site.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_NS (20 * NS_PER_S) /* of one command */
#define LATE_NS     (2 * NS_PER_S)  /* for its end to be told, by a node that is not deaf */

struct operators_move {
    struct operators *operators;
    struct host *host;
    uint64_t life, number;
};

static void ended(void *context, enum status status, const struct site_report *report,
                  const char *text)
{
    struct operators_move *move = context;
    struct operators *operators = move->operators;
    (void)report;
    invariant(operators->move == move);
    if (!move->host->dying) {
        operators->moved_total[status != STATUS_OK]++;
        world_note(operators->world, "site moved", move->host->number, status, move->number);
        world_tell(operators->world, "    host %u: the command ended: %s%s%.300s",
                   move->host->number, status_text(status), text != NULL ? ": " : "",
                   text != NULL ? text : "");
    }
    operators->move = NULL;
    free(move);
}

static void look_at_end(void *context, uint64_t number, uint64_t unused)
{
    (void)unused;
    struct operators *operators = context;
    const struct operators_move *move = operators->move;
    if (move == NULL || move->number != number || move->life != move->host->life)
        return;
    if (move->host->busy_until_ns > operators->world->now_ns ||
        move->host->paused_until_ns + LATE_NS > operators->world->now_ns) { /* deaf, or just was */
        world_post(operators->world, operators->world->now_ns + LATE_NS, look_at_end, operators,
                   number, 0);
        return;
    }
    world_violate(operators->world,
                  "host %u: a command about a site hangs: %.0f s, and nobody was told of its end",
                  move->host->number, (double)(PATIENCE_NS + LATE_NS) / 1e9);
}

static const struct host *any_leader(const struct operators *operators)
{
    for (uint32_t i = 0; i < operators->host_count; i++) {
        const struct host *host = &operators->hosts[i];
        struct consensus_status status;
        if (host->node == NULL || host->node->phase != NODE_SERVING)
            continue;
        consensus_status(host->node->consensus, &status);
        if (status.leads)
            return host;
    }
    return NULL;
}

void operators_move_site(struct operators *operators, struct draw *draw, struct host *host)
{
    static const enum site_operation_kind commands[] = {SITE_SWITCHOVER, SITE_SWITCHOVER,
                                                        SITE_DRAIN, SITE_RESUME, SITE_RESUME};
    const struct host *leader = any_leader(operators);
    struct site_operation_request request = {
        .kind = commands[draw_below(draw, sizeof commands / sizeof commands[0])],
        .who = "spiffe://bank/operator",
        .why = "simulated",
        .force = draw_chance(draw, 1, 3),
        .power_off = draw_chance(draw, 1, 4),
        .cb = ended,
    };
    snprintf(request.site, sizeof request.site, "%s", draw_chance(draw, 1, 2) ? "A" : "B");
    if (leader != NULL && draw_chance(draw, 7, 8)) /* the others say whom to ask */
        host = &operators->hosts[leader->number];
    if (operators->move != NULL && operators->move->life != operators->move->host->life) {
        free(operators->move); /* its process has ended, and nobody will tell */
        operators->move = NULL;
    }
    if (host->node == NULL || host->node->consensus == NULL ||
        host->busy_until_ns > operators->world->now_ns)
        return;
    struct operators_move *move = sim_allocate(sizeof *move);
    *move = (struct operators_move){.operators = operators,
                                    .host = host,
                                    .life = host->life,
                                    .number = ++operators->move_number};
    request.context = move;
    request.deadline_ns = host_monotonic_ns(host) + PATIENCE_NS;
    const bool second = operators->move != NULL && operators->move->host == host;
    struct node_error error = {0};
    if (operators->move != NULL && !second) { /* elsewhere: that one is asked by somebody else */
        free(move);
        return;
    }
    const enum status status = node_site_begin(host->node, &request, &error);
    host_left(host);
    world_note(operators->world, "site command", host->number, request.kind, status);
    world_tell(operators->world, "    host %u is asked for a %s, site %s%s%s: %s", host->number,
               site_operation_name(request.kind), request.site, request.force ? ", forced" : "",
               request.power_off ? ", to be powered off" : "",
               status == STATUS_OK ? "it begins" : error.text);
    if (status != STATUS_OK) {
        free(move);
        operators->refused_total++;
        return;
    }
    if (second)
        world_violate(operators->world,
                      "host %u takes a second command about a site while one is under way",
                      host->number);
    operators->move = move;
    host_wake(host);
    world_post(operators->world, operators->world->now_ns + PATIENCE_NS + LATE_NS, look_at_end,
               operators, move->number, 0);
}

void operators_deinit(struct operators *operators)
{
    free(operators->move);
}
