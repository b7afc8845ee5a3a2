/*
 * An attempt is one call of node_propose() or node_read() at one host. It stays until its callback
 * fires, which the node owes exactly once; the client may have given up on it long before and gone
 * to another node with the same identity, as real ones do after a timeout. An answer that comes
 * late is a promise all the same and goes to the oracle.
 *
 * An answer is followed by reads on its heels now and then: at any hosts, at once, some within a
 * moment after the others. What a read may miss it misses while entries and questions are on their
 * way, a few milliseconds at a time; a client that thinks between two calls hardly ever asks then.
 */
#include "chaos/sim/client.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_NS      (4 * NS_PER_S)
#define RETRY_MIN_NS    (5 * NS_PER_MS)
#define RETRY_MAX_NS    (150 * NS_PER_MS)
#define READ_WAIT_NS    (2 * NS_PER_S)
#define PATIENCE_NS     (200 * NS_PER_MS) /* with a node that takes no call */
#define CALL_LATENCY_NS (300 * NS_PER_US)
#define DISTRUSTS_MAX   5
#define SETTLE_PAUSE_NS (5 * NS_PER_MS)
#define EVENING_SKEW_NS (55 * NS_PER_S) /* a minute ahead is taken */
#define HEELS_MAX       6
#define HEELS_NS        (10 * NS_PER_MS)

enum read_kind { READ_LINEARIZABLE, READ_MIN_INDEX, READ_BOUNDED };

struct attempt {
    struct node_request request; /* exactly one of the two is in use */
    struct node_read read;
    struct client *client;
    struct host *host;
    struct fact *fact;
    struct request_header *fence; /* ours, when it is one */
    uint64_t round;               /* of the client when it was sent */
    uint64_t life;                /* of the process that was asked */
    enum client_doing doing;
    enum read_kind kind;
    uint64_t floor_index;
    bool answered_before;
    struct attempt *next, *previous;
};

static void operation_begin(void *context, uint64_t number, uint64_t round);
static void attempt_begin(void *context, uint64_t number, uint64_t round);
static void follow_on_heels(struct clients *clients);

static uint64_t client_wall_ns(const struct client *client)
{
    struct clients *clients = client->clients;
    const uint64_t wall = world_wall_ns(clients->world);
    if (clients->time == CLIENTS_EVENING)
        return wall - EVENING_SKEW_NS + draw_below(&clients->habits, 2 * EVENING_SKEW_NS);
    return wall + (uint64_t)client->skew_ns;
}

/* ---- attempts ---- */

static struct attempt *attempt_create(struct client *client, struct host *host)
{
    struct clients *clients = client->clients;
    struct attempt *attempt = sim_allocate(sizeof *attempt);
    attempt->client = client;
    attempt->host = host;
    attempt->fact = client->fact;
    attempt->round = client->round;
    attempt->life = host->life;
    attempt->doing = client->doing;
    attempt->answered_before = client->answered_before;
    attempt->next = clients->attempts;
    if (clients->attempts != NULL)
        clients->attempts->previous = attempt;
    clients->attempts = attempt;
    return attempt;
}

static void attempt_destroy(struct attempt *attempt)
{
    struct clients *clients = attempt->client->clients;
    if (attempt->previous != NULL)
        attempt->previous->next = attempt->next;
    else
        clients->attempts = attempt->next;
    if (attempt->next != NULL)
        attempt->next->previous = attempt->previous;
    free(attempt->fence);
    free(attempt);
}

/* ---- what a client does next ---- */

static void operation_end(struct client *client)
{
    struct clients *clients = client->clients;
    const uint64_t took = clients->world->now_ns - client->began_ns;
    if (took > clients->longest_ns)
        clients->longest_ns = took;
    client->doing = CLIENT_IDLE;
    client->fact = NULL;
    client->round++;
    uint64_t pause = draw_below(&clients->draw, 2 * clients->think_ns + 1);
    if (clients->quiet && clients->abandoned_count > 0 && pause > SETTLE_PAUSE_NS)
        pause = SETTLE_PAUSE_NS; /* nobody thinks over what is left to be settled */
    world_post(clients->world, clients->world->now_ns + pause, operation_begin, clients,
               client->number, client->round);
}

static void attempt_again(struct client *client)
{
    struct clients *clients = client->clients;
    client->round++;
    client->tries++;
    /* Another node; every other time any of them. */
    client->host = (uint32_t)draw_below(&clients->draw, clients->host_count);
    if (client->tries % 2 == 1 && draw_chance(&clients->draw, 1, 2))
        client->host = client->home;
    world_post(clients->world,
               clients->world->now_ns + draw_between(&clients->draw, RETRY_MIN_NS, RETRY_MAX_NS),
               attempt_begin, clients, client->number, client->round);
}

/* Its time is up, or it is refused: some calls are given up for good. */
static bool gives_up(struct client *client)
{
    const struct clients *clients = client->clients;
    return clients->abandons && !clients->quiet &&
           (client->doing == CLIENT_WRITES || client->doing == CLIENT_REPEATS) &&
           clients_are_set_up(clients) && draw_chance(&client->clients->habits, 1, 3);
}

static void keep_abandoned(struct clients *clients, struct fact *fact)
{
    if (clients->abandoned_count == clients->abandoned_capacity) {
        clients->abandoned_capacity = 2 * clients->abandoned_capacity + 64;
        clients->abandoned = sim_resize(clients->abandoned,
                                        clients->abandoned_capacity * sizeof *clients->abandoned);
    }
    clients->abandoned[clients->abandoned_count++] = fact;
    clients->abandoned_total++;
}

/* It may be executed, now or later; nobody asks before the end. */
static void abandon(struct client *client)
{
    world_note(client->clients->world, "abandoned", client->number, client->fact->number, 0);
    keep_abandoned(client->clients, client->fact);
    operation_end(client);
}

static void timed_out(void *context, uint64_t number, uint64_t round)
{
    struct clients *clients = context;
    struct client *client = &clients->client[number];
    if (client->round != round)
        return;
    clients->timeout_total++;
    world_note(clients->world, "client timeout", client->host, number, client->doing);
    if (client->doing == CLIENT_READS || client->doing == CLIENT_LOOKS_UP)
        operation_end(client); /* a read that nobody answers is just asked no more */
    else if (gives_up(client))
        abandon(client);
    else
        attempt_again(client);
}

static bool is_current(const struct attempt *attempt)
{
    return attempt->client->round == attempt->round;
}

static void refused(struct client *client, enum status status)
{
    struct clients *clients = client->clients;
    clients->refused_total++;
    if ((unsigned)status < 64)
        clients->refused_by[status]++;
    if (client->doing == CLIENT_READS || client->doing == CLIENT_LOOKS_UP)
        operation_end(client);
    else if (gives_up(client))
        abandon(client);
    else
        attempt_again(client);
}

/* Ledger time says that this clock is wrong: in the end somebody sets it, and the call is gone. */
static void distrusted(struct client *client, uint8_t outcome)
{
    if (outcome == OUTCOME_BEYOND_WINDOW || ++client->distrusts >= DISTRUSTS_MAX) {
        world_note(client->clients->world, "clock set", client->number, outcome, 0);
        client->skew_ns = 0;
        client->distrusts = 0;
        operation_end(client);
    } else {
        refused(client, STATUS_NOT_READY);
    }
}

/* ---- callbacks ---- */

static void request_cb(struct node_request *request, enum status status,
                       const struct answer *answer)
{
    struct attempt *attempt = (struct attempt *)(void *)request;
    struct client *client = attempt->client;
    struct clients *clients = client->clients;
    const bool lost = attempt->host->dying;
    const bool current = is_current(attempt);
    if (!lost && status == STATUS_OK) {
        oracle_answered(clients->oracle, attempt->fact, answer, attempt->host->number);
        follow_on_heels(clients);
        if (current) {
            if (answer->outcome == OUTCOME_ISSUED_TOO_FAR_AHEAD ||
                answer->outcome == OUTCOME_BEYOND_WINDOW)
                distrusted(client, answer->outcome);
            else
                operation_end(client);
        }
    } else if (current) {
        if (status == STATUS_UNKNOWN_OUTCOME)
            clients->oracle->unknown_total++;
        if (status == STATUS_INVALID)
            world_violate(clients->world, "request %" PRIu64 ": host %u says STATUS_INVALID",
                          attempt->fact->number, attempt->host->number);
        refused(client, status);
    } else if (client == &clients->crowd && !attempt->fact->answered) {
        keep_abandoned(clients, attempt->fact);
    }
    attempt_destroy(attempt);
}

static void read_cb(struct node_read *read, enum status status)
{
    struct attempt *attempt =
        (struct attempt *)(void *)((char *)read - offsetof(struct attempt, read));
    struct client *client = attempt->client;
    struct clients *clients = client->clients;
    const bool current = is_current(attempt);
    if (!attempt->host->dying && status == STATUS_OK) {
        const struct machine *machine = node_machine(attempt->host->node);
        oracle_read(clients->oracle, machine, attempt->floor_index,
                    attempt->kind == READ_LINEARIZABLE, attempt->host->number);
        if (attempt->doing == CLIENT_LOOKS_UP)
            oracle_lookup(clients->oracle, attempt->fact, machine, attempt->answered_before,
                          attempt->host->number);
        if (current)
            operation_end(client);
    } else if (current) {
        refused(client, status);
    }
    attempt_destroy(attempt);
}

/* ---- attempts by kind ---- */

static enum status send_request(struct client *client, struct host *host)
{
    struct clients *clients = client->clients;
    struct attempt *attempt = attempt_create(client, host);
    const bool fence = client->doing == CLIENT_FENCES;
    attempt->request.request = client->fact->bytes;
    if (fence)
        attempt->request.request = attempt->fence = oracle_fence(client->fact);
    attempt->request.cb = request_cb;
    oracle_sent(clients->oracle, client->fact, fence);
    const enum status status = node_propose(host->node, &attempt->request);
    if (status != STATUS_OK)
        attempt_destroy(attempt);
    return status;
}

static enum status send_read(struct client *client, struct host *host)
{
    struct clients *clients = client->clients;
    struct oracle *oracle = clients->oracle;
    struct attempt *attempt = attempt_create(client, host);
    attempt->kind = READ_LINEARIZABLE;
    if (client->doing == CLIENT_READS && draw_chance(&clients->draw, 1, 3))
        attempt->kind = READ_MIN_INDEX;
    else if (client->doing == CLIENT_READS && draw_chance(&clients->draw, 1, 4))
        attempt->kind = READ_BOUNDED;
    attempt->floor_index = oracle->acknowledged_index;
    if (attempt->kind == READ_MIN_INDEX)
        attempt->read.min_index = attempt->floor_index;
    if (attempt->kind == READ_BOUNDED) {
        const uint64_t most_ms = draw_chance(&clients->heels, 1, 2) ? 20 : 3000;
        attempt->read.max_age_ns = draw_between(&clients->draw, 1, most_ms) * NS_PER_MS;
        const uint64_t now = clients->world->now_ns;
        attempt->floor_index = oracle_index_before(
            oracle, now > attempt->read.max_age_ns ? now - attempt->read.max_age_ns : 0);
        if (draw_chance(&clients->heels, 1, 3)) /* the one does not excuse from the other */
            attempt->floor_index = attempt->read.min_index = oracle->acknowledged_index;
    }
    attempt->read.deadline_ns = host_monotonic_ns(host) + READ_WAIT_NS;
    attempt->read.cb = read_cb;
    const enum status status = node_read(host->node, &attempt->read);
    if (status != STATUS_OK)
        attempt_destroy(attempt);
    return status;
}

static void attempt_begin(void *context, uint64_t number, uint64_t round)
{
    struct clients *clients = context;
    struct client *client = &clients->client[number];
    if (client->round != round || client->doing == CLIENT_IDLE)
        return;
    struct host *host = &clients->hosts[client->host];
    if (!host_is_up(host) || host->kind == MEMBER_WITNESS || host->unreachable ||
        host->paused_until_ns > clients->world->now_ns) {
        attempt_again(client); /* connection refused, or no answer */
        return;
    }
    const bool reads = client->doing == CLIENT_READS || client->doing == CLIENT_LOOKS_UP;
    if (host->busy_until_ns > clients->world->now_ns + PATIENCE_NS) {
        attempt_again(client); /* it does not even take the call */
        return;
    }
    if (host->busy_until_ns > clients->world->now_ns) { /* it reads no calls now */
        world_post(clients->world, host->busy_until_ns, attempt_begin, clients, number, round);
        return;
    }
    const enum status status = reads ? send_read(client, host) : send_request(client, host);
    host_left(host);
    if (status != STATUS_OK) {
        refused(client, status);
        return;
    }
    world_post(clients->world, clients->world->now_ns + TIMEOUT_NS, timed_out, clients, number,
               client->round);
}

/* ---- choosing ---- */

static void choose(struct client *client)
{
    struct clients *clients = client->clients;
    struct oracle *oracle = clients->oracle;
    const uint64_t wall = client_wall_ns(client);
    const uint64_t die = draw_below(&clients->draw, 100);
    if (clients->time == CLIENTS_MORNING && die < 80) {
        client->doing = die < 60 ? CLIENT_REPEATS : CLIENT_LOOKS_UP;
        client->fact = oracle_any(oracle);
    } else if (die < 55) {
        client->doing = CLIENT_WRITES;
        client->fact = oracle_transfers(oracle, wall);
    } else if (die < 65) {
        client->doing = CLIENT_REPEATS;
        client->fact = oracle_any(oracle);
    } else if (die < 67) { /* never sent, or in somebody's hands, or answered: it is final then */
        client->doing = CLIENT_FENCES;
        client->fact =
            draw_chance(&clients->draw, 1, 2) ? oracle_transfers(oracle, wall) : oracle_any(oracle);
    } else if (die < 92) {
        client->doing = CLIENT_READS;
    } else {
        client->doing = CLIENT_LOOKS_UP;
        client->fact = oracle_any(oracle);
    }
    client->answered_before = client->fact != NULL && client->fact->answered;
}

/* Ledger, then accounts; everybody else waits. False: not yet. */
static bool set_up(struct client *client)
{
    struct clients *clients = client->clients;
    struct oracle *oracle = clients->oracle;
    if (client->number != 0)
        return false;
    client->doing = CLIENT_WRITES;
    client->fact = oracle->fact_count == 0 ? oracle_ledger(oracle, client_wall_ns(client))
                                           : oracle_accounts(oracle, client_wall_ns(client));
    return true;
}

bool clients_are_set_up(const struct clients *clients)
{
    const struct oracle *oracle = clients->oracle;
    return oracle->fact_count >= 2 && oracle->facts[0]->answered && oracle->facts[1]->answered;
}

static void operation_first(struct client *client)
{
    struct clients *clients = client->clients;
    client->round++;
    client->tries = 0;
    client->began_ns = clients->world->now_ns;
    client->host = client->home;
    if (draw_chance(&clients->draw, 1, 4)) /* the other site serves as well */
        client->host = (uint32_t)draw_below(&clients->draw, clients->host_count);
    world_post(clients->world, clients->world->now_ns + CALL_LATENCY_NS, attempt_begin, clients,
               client->number, client->round);
}

/* What was abandoned is asked for again, or fenced: it has one outcome, and that is final. */
static bool settles_one(struct client *client)
{
    struct clients *clients = client->clients;
    while (clients->abandoned_count > 0) {
        struct fact *fact = clients->abandoned[--clients->abandoned_count];
        if (fact->answered)
            continue;
        clients->settled_total++;
        client->fact = fact;
        client->doing = draw_chance(&clients->habits, 1, 2) ? CLIENT_FENCES : CLIENT_REPEATS;
        operation_first(client);
        return true;
    }
    return false;
}

static void operation_begin(void *context, uint64_t number, uint64_t round)
{
    struct clients *clients = context;
    struct client *client = &clients->client[number];
    if (client->round != round || client->doing != CLIENT_IDLE)
        return;
    const bool ready = clients_are_set_up(clients);
    if (clients->quiet && ready && settles_one(client))
        return;
    if (clients->quiet || (!ready && !set_up(client))) {
        client->round++;
        world_post(clients->world, clients->world->now_ns + 50 * NS_PER_MS, operation_begin,
                   clients, number, client->round);
        return;
    }
    if (ready)
        choose(client);
    operation_first(client);
}

void clients_burst(struct clients *clients, uint32_t number, uint32_t count)
{
    struct host *host = &clients->hosts[number];
    if (!clients_are_set_up(clients) || !host_is_up(host) || host->kind == MEMBER_WITNESS ||
        host->unreachable || host->busy_until_ns > clients->world->now_ns)
        return;
    clients->burst_total += count;
    for (uint32_t i = 0; i < count && host_is_up(host); i++) {
        clients->crowd.doing = CLIENT_WRITES;
        clients->crowd.fact = oracle_transfers(clients->oracle, client_wall_ns(&clients->crowd));
        struct fact *fact = clients->crowd.fact;
        const enum status status = send_request(&clients->crowd, host);
        clients->crowd.round++; /* nobody waits for it */
        if (status != STATUS_OK && draw_chance(&clients->habits, 1, 8))
            keep_abandoned(clients, fact); /* asked for at the end, in spite of the refusal */
    }
    clients->crowd.fact = NULL;
    host_left(host);
}

/* ---- on the heels of an answer ---- */

static void heel_begin(void *context, uint64_t number, uint64_t unused)
{
    (void)unused;
    struct clients *clients = context;
    struct host *host = &clients->hosts[number];
    if (clients->quiet || !host_is_up(host) || host->kind == MEMBER_WITNESS || host->unreachable ||
        host->busy_until_ns > clients->world->now_ns)
        return;
    clients->heel_total++;
    clients->crowd.doing = CLIENT_READS;
    (void)send_read(&clients->crowd, host); /* refused: nobody asks again */
    clients->crowd.round++;
    host_left(host);
}

static void follow_on_heels(struct clients *clients)
{
    if (clients->quiet || !draw_chance(&clients->heels, 1, 4))
        return;
    const uint64_t count = draw_between(&clients->heels, 1, HEELS_MAX);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t number = draw_below(&clients->heels, clients->host_count);
        const uint64_t wait_ns = i == 0 ? 0 : draw_below(&clients->heels, HEELS_NS);
        world_post(clients->world, clients->world->now_ns + wait_ns, heel_begin, clients, number,
                   0);
    }
}

/* ---- life ---- */

void clients_init(struct clients *clients)
{
    /* Less than what is taken, more than that, and more than a day behind. */
    static const int64_t skews_s[] = {0, 0, 5, -5, 50, 300, -3600, -25 * 3600};
    clients->draw = draw_stream(clients->world->seed, 4000);
    clients->habits = draw_stream(clients->world->seed, 4100);
    clients->heels = draw_stream(clients->world->seed, 4300);
    clients->crowd = (struct client){.clients = clients, .number = CLIENTS_MAX};
    for (uint32_t i = 0; i < clients->count; i++) {
        clients->client[i] =
            (struct client){.clients = clients, .number = i, .home = i % clients->host_count};
        if (clients->skews && i > 0) /* the first one makes the accounts */
            clients->client[i].skew_ns =
                skews_s[draw_below(&clients->habits, sizeof skews_s / sizeof skews_s[0])] *
                (int64_t)NS_PER_S;
    }
}

void clients_start(struct clients *clients)
{
    for (uint32_t i = 0; i < clients->count; i++)
        world_post(clients->world, clients->world->now_ns + i * NS_PER_MS, operation_begin, clients,
                   i, clients->client[i].round);
}

bool clients_are_idle(const struct clients *clients)
{
    for (uint32_t i = 0; i < clients->count; i++)
        if (clients->client[i].doing != CLIENT_IDLE)
            return false;
    return clients->abandoned_count == 0;
}

void clients_deinit(struct clients *clients)
{
    while (clients->attempts != NULL)
        attempt_destroy(clients->attempts);
    free(clients->abandoned);
}
