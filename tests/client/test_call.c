/*
 * The life of a call against a server that does what each test tells it: refuse, forget, answer
 * nonsense. The server is the real gRPC engine in a thread of its own; only the service is false.
 */
#include "client/cli/certificate.h"
#include "client/tally.h"
#include "server/grpc.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

/* What the server does with the n-th request; the last one stands for all that follow. */
struct step {
    enum grpc_code code;
    const char *outcome, *retry_ms;
    bool forget;       /* never answers */
    int extra_results; /* answers so many more than events */
    const char *raw;   /* answers these bytes instead */
};

#define STEPS_MAX  8
#define CALLS_KEPT 64

struct fake {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct grpc_server *server;
    uint16_t port;
    char directory[64];
    struct step steps[STEPS_MAX];
    size_t step_count;
    /* Read by the test after fake_join(), or under the lock. */
    pthread_mutex_t lock;
    bool joined;
    size_t request_count;
    uint8_t *requests[CALLS_KEPT];
    size_t sizes[CALLS_KEPT];
    uint64_t max_age_ns; /* of the last request */
    struct grpc_call *forgotten[CALLS_KEPT];
    size_t forgotten_count;
};

static void answer(struct grpc_call *call, const struct step *step, const uint8_t *message,
                   size_t size)
{
    if (step->raw != NULL) {
        memcpy(grpc_call_reserve(call, strlen(step->raw)), step->raw, strlen(step->raw));
        grpc_call_finish(call, GRPC_OK, NULL);
        return;
    }
    Tally__V1__CreateTransfersRequest *request =
        tally__v1__create_transfers_request__unpack(NULL, size, message);
    size_t count = request->n_transfers + (size_t)step->extra_results;
    Tally__V1__Result *results = calloc(count, sizeof *results);
    Tally__V1__CreateTransfersResponse response = TALLY__V1__CREATE_TRANSFERS_RESPONSE__INIT;
    for (size_t i = 0; i < count; i++)
        results[i] = (Tally__V1__Result)(i % 3);
    response.n_results = count;
    response.results = results;
    response.index = 77;
    response.timestamp = 88;
    uint8_t *out =
        grpc_call_reserve(call, tally__v1__create_transfers_response__get_packed_size(&response));
    if (out != NULL)
        tally__v1__create_transfers_response__pack(&response, out);
    free(results);
    tally__v1__create_transfers_request__free_unpacked(request, NULL);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void handle(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    struct fake *fake = context;
    pthread_mutex_lock(&fake->lock);
    size_t number = fake->request_count++;
    fake->max_age_ns = grpc_call_max_age_ns(call);
    const struct step *step =
        &fake->steps[number < fake->step_count ? number : fake->step_count - 1];
    if (number < CALLS_KEPT) {
        fake->requests[number] = malloc(size + 1);
        memcpy(fake->requests[number], message, size);
        fake->sizes[number] = size;
    }
    if (step->forget && fake->forgotten_count < CALLS_KEPT)
        fake->forgotten[fake->forgotten_count++] = call;
    pthread_mutex_unlock(&fake->lock);
    if (step->forget)
        return;
    if (step->code == GRPC_OK) {
        answer(call, step, message, size);
        return;
    }
    if (step->outcome != NULL)
        grpc_call_add_trailer(call, "tally-outcome", step->outcome);
    if (step->retry_ms != NULL)
        grpc_call_add_trailer(call, "tally-retry-ms", step->retry_ms);
    grpc_call_finish(call, step->code, "as the test said");
}

static void drained(void *context)
{
    struct fake *fake = context;
    grpc_server_destroy(fake->server);
}

static void stop_cb(uv_async_t *async)
{
    struct fake *fake = async->data;
    for (size_t i = 0; i < fake->forgotten_count; i++)
        grpc_call_finish(fake->forgotten[i], GRPC_CANCELLED, NULL);
    uv_close((uv_handle_t *)async, NULL);
    grpc_server_drain(fake->server, 100, drained, fake);
}

static void *serve(void *context)
{
    struct fake *fake = context;
    uv_run(&fake->loop, UV_RUN_DEFAULT);
    uv_loop_close(&fake->loop);
    return NULL;
}

static void write_text(const char *directory, const char *name, char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    free(text);
}

static void make_certificates(const char *directory)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1"};
    struct certificate_error error;
    struct certificate_pair *ca = certificate_create_ca("Test", 10, &error);
    struct certificate_pair *node =
        certificate_issue(ca,
                          &(struct certificate_options){.common_name = "node",
                                                        .uri = "spiffe://tallystick/node/1",
                                                        .hosts = hosts,
                                                        .host_count = 2,
                                                        .server = true,
                                                        .days = 5},
                          &error);
    struct certificate_pair *client = certificate_issue(
        ca,
        &(struct certificate_options){
            .common_name = "c", .uri = "spiffe://tallystick/channel/main", .days = 5},
        &error);
    write_text(directory, "ca.pem", certificate_pem(ca));
    write_text(directory, "node.pem", certificate_pem(node));
    write_text(directory, "node.key", certificate_key_pem(node));
    write_text(directory, "client.pem", certificate_pem(client));
    write_text(directory, "client.key", certificate_key_pem(client));
    certificate_destroy(ca);
    certificate_destroy(node);
    certificate_destroy(client);
}

static const char *path_of(const struct fake *fake, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", fake->directory, name);
    return out;
}

static struct fake *fake_start(const struct step *steps, size_t count)
{
    struct fake *fake = calloc(1, sizeof *fake);
    char certificate[128], key[128], ca[128];
    struct grpc_error error;

    memcpy(fake->steps, steps, count * sizeof *steps);
    fake->step_count = count;
    strcpy(fake->directory, "/tmp/tally-call-XXXXXX");
    cr_assert_not_null(mkdtemp(fake->directory));
    make_certificates(fake->directory);
    pthread_mutex_init(&fake->lock, NULL);
    uv_loop_init(&fake->loop);
    uv_async_init(&fake->loop, &fake->stop, stop_cb);
    fake->stop.data = fake;
    const struct grpc_server_options options = {
        .loop = &fake->loop,
        .host = "127.0.0.1",
        .certificate_file = path_of(fake, "node.pem", certificate),
        .key_file = path_of(fake, "node.key", key),
        .ca_file = path_of(fake, "ca.pem", ca),
    };
    cr_assert_eq(grpc_server_create(&options, &fake->server, &error), STATUS_OK, "%s", error.text);
    static const char *const paths[] = {
        "/tally.v1.Ledger/CreateTransfers", "/tally.v1.Ledger/LookupAccounts",
        "/tally.v1.Admin/GetStatus",        "/tally.v1.Admin/ListMembers",
        "/tally.v1.Admin/AddMember",        "/tally.v1.Admin/TransferLeadership",
        "/tally.v1.Ledger/GetRequest"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        grpc_server_add(fake->server, &(struct grpc_method){
                                          .path = paths[i], .message = handle, .context = fake});
    cr_assert_eq(grpc_server_listen(fake->server, &fake->port, &error), STATUS_OK, "%s",
                 error.text);
    cr_assert_eq(pthread_create(&fake->thread, NULL, serve, fake), 0);
    return fake;
}

/* Ends the server's thread; what it saw can be looked at. */
static void fake_join(struct fake *fake)
{
    if (fake->joined)
        return;
    uv_async_send(&fake->stop);
    pthread_join(fake->thread, NULL);
    fake->joined = true;
}

static void fake_stop(struct fake *fake)
{
    static const char *const names[] = {"ca.pem", "node.pem", "node.key", "client.pem",
                                        "client.key"};
    char path[128];
    fake_join(fake);
    for (size_t i = 0; i < fake->request_count && i < CALLS_KEPT; i++)
        free(fake->requests[i]);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(path_of(fake, names[i], path));
    cr_assert_eq(rmdir(fake->directory), 0);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

/* `servers` NULL: the fake one. */
static struct tally_client *connect_to(const struct fake *fake, const char *servers,
                                       uint32_t in_flight_max)
{
    char address[64], certificate[128], key[128], ca[128];
    struct tally_client *client;
    struct tally_error error;
    snprintf(address, sizeof address, "127.0.0.1:%u", fake->port);
    const struct tally_options options = {
        .servers = servers != NULL ? servers : address,
        .ca_file = path_of(fake, "ca.pem", ca),
        .certificate_file = path_of(fake, "client.pem", certificate),
        .key_file = path_of(fake, "client.key", key),
        .in_flight_max = in_flight_max,
    };
    cr_assert_eq(tally_client_create(&options, &client, &error), TALLY_OK, "%s", error.text);
    return client;
}

static struct tally_call new_call(uint32_t deadline_ms)
{
    struct tally_call call = {.deadline_ms = deadline_ms};
    cr_assert_eq(tally_identity_new(&call.identity), TALLY_OK);
    return call;
}

static const struct tally_new_transfer transfers[3] = {
    {.id = {{1}}, .amount = {5, 0}, .ledger = 1, .code = 1},
    {.id = {{2}}, .amount = {5, 0}, .ledger = 1, .code = 1},
    {.id = {{3}}, .amount = {5, 9}, .ledger = 1, .code = 1},
};

/* Steps of the server and how one call of three transfers ends. `requests` counts arrivals; 0 =
 * any.
 */
struct scenario {
    const char *name;
    struct step steps[3];
    size_t step_count;
    uint32_t deadline_ms;
    enum tally_status status;
    uint8_t outcome;
    size_t requests;
};

static const struct scenario scenarios[] = {
    {"answered", {{.code = GRPC_OK}}, 1, 5000, TALLY_OK, 0, 1},
    {"turned away twice, then answered",
     {{.code = GRPC_UNAVAILABLE, .outcome = "NOT_ACCEPTED", .retry_ms = "5"},
      {.code = GRPC_RESOURCE_EXHAUSTED, .outcome = "WINDOW_FULL", .retry_ms = "5"},
      {.code = GRPC_OK}},
     3,
     5000,
     TALLY_OK,
     0,
     3},
    {"lost, then answered",
     {{.code = GRPC_UNAVAILABLE}, {.code = GRPC_OK}},
     2,
     5000,
     TALLY_OK,
     0,
     2},
    {"turned away for longer than there is time: nothing happened",
     {{.code = GRPC_UNAVAILABLE, .outcome = "NOT_ACCEPTED", .retry_ms = "30000"}},
     1,
     5000,
     TALLY_REFUSED,
     TALLY_OUTCOME_NOT_ACCEPTED,
     1},
    {"lost until the deadline",
     {{.code = GRPC_UNAVAILABLE}},
     1,
     150,
     TALLY_UNKNOWN,
     TALLY_OUTCOME_NONE,
     0},
    {"never answered", {{.forget = true}}, 1, 150, TALLY_UNKNOWN, TALLY_OUTCOME_NONE, 1},
    {"another request has the nonce",
     {{.code = GRPC_FAILED_PRECONDITION, .outcome = "NONCE_REUSED"}},
     1,
     5000,
     TALLY_REFUSED,
     TALLY_OUTCOME_NONCE_REUSED,
     1},
    {"lost, then another request has the nonce: ours never ran",
     {{.code = GRPC_UNAVAILABLE}, {.code = GRPC_FAILED_PRECONDITION, .outcome = "NONCE_REUSED"}},
     2,
     5000,
     TALLY_REFUSED,
     TALLY_OUTCOME_NONCE_REUSED,
     2},
    {"beyond the window",
     {{.code = GRPC_FAILED_PRECONDITION, .outcome = "BEYOND_WINDOW"}},
     1,
     5000,
     TALLY_REFUSED,
     TALLY_OUTCOME_BEYOND_WINDOW,
     1},
    {"lost, then beyond the window: it may have run",
     {{.code = GRPC_UNAVAILABLE}, {.code = GRPC_FAILED_PRECONDITION, .outcome = "BEYOND_WINDOW"}},
     2,
     5000,
     TALLY_UNKNOWN,
     TALLY_OUTCOME_BEYOND_WINDOW,
     2},
    {"not permitted",
     {{.code = GRPC_PERMISSION_DENIED}},
     1,
     5000,
     TALLY_REFUSED,
     TALLY_OUTCOME_NONE,
     1},
    {"one result too many: executed, and we cannot say how",
     {{.code = GRPC_OK, .extra_results = 1}},
     1,
     5000,
     TALLY_UNKNOWN,
     0,
     1},
    {"an answer that is none",
     {{.code = GRPC_OK, .raw = "\xff\xff\xff"}},
     1,
     5000,
     TALLY_UNKNOWN,
     0,
     1},
};

static void run(const struct scenario *scenario)
{
    struct fake *fake = fake_start(scenario->steps, scenario->step_count);
    struct tally_client *client = connect_to(fake, NULL, 0);
    struct tally_call call = new_call(scenario->deadline_ms);
    uint8_t results[3] = {99, 99, 99};
    enum tally_status status = tally_create_transfers(client, &call, transfers, 3, results);
    cr_assert_eq(status, scenario->status, "%s: %s: %s", scenario->name, tally_status_text(status),
                 call.error.text);
    if (status == TALLY_OK) {
        cr_assert(results[0] == 0 && results[1] == 1 && results[2] == 2, "%s", scenario->name);
        cr_assert_eq(call.index, 77);
        cr_assert_eq(call.timestamp_ns, 88);
    } else {
        cr_assert(results[0] == 99 && results[2] == 99, "%s: written", scenario->name);
        cr_assert_eq(call.error.status, status);
        if (scenario->outcome != 0)
            cr_assert_eq(call.error.outcome, scenario->outcome, "%s: %u", scenario->name,
                         call.error.outcome);
        cr_assert(call.error.text[0] != '\0');
    }
    tally_client_destroy(client);
    fake_join(fake);
    if (scenario->requests > 0)
        cr_assert_eq(fake->request_count, scenario->requests, "%s: %zu", scenario->name,
                     fake->request_count);
    /* every attempt carries the same bytes, identity included */
    for (size_t i = 1; i < fake->request_count && i < CALLS_KEPT; i++) {
        cr_assert_eq(fake->sizes[i], fake->sizes[0]);
        cr_assert_eq(memcmp(fake->requests[i], fake->requests[0], fake->sizes[0]), 0);
    }
    fake_stop(fake);
}

Test(call, each_scenario_ends_as_the_table_says, .timeout = 60)
{
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++)
        run(&scenarios[i]);
}

/* 256 in a byte would be 0: executed, and well. */
Test(call, a_stored_result_that_no_version_has_is_not_read_as_another, .timeout = 20)
{
    /* answer (field 3): results (field 1), packed: 256 */
    struct step steps[] = {{.code = GRPC_OK, .raw = "\x1a\x04\x0a\x02\x80\x02"}};
    struct fake *fake = fake_start(steps, 1);
    struct tally_client *client = connect_to(fake, NULL, 0);
    struct tally_call call = new_call(2000);
    struct tally_request told = {.outcome = TALLY_OUTCOME_NONE};
    enum tally_status status = tally_get_request(client, &call, &call.identity, NULL, &told);
    cr_assert_neq(status, TALLY_OK);
    cr_assert_null(told.results);
    cr_assert(strstr(call.error.text, "above 127"), "%s", call.error.text);
    tally_client_destroy(client);
    fake_join(fake);
    fake_stop(fake);
}

Test(call, what_is_sent_is_what_was_given, .timeout = 20)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    struct tally_client *client = connect_to(fake, NULL, 0);
    struct tally_call call = new_call(5000);
    uint8_t results[3];
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 3, results), TALLY_OK);
    fake_join(fake);
    Tally__V1__CreateTransfersRequest *request =
        tally__v1__create_transfers_request__unpack(NULL, fake->sizes[0], fake->requests[0]);
    cr_assert_eq(request->n_transfers, 3);
    cr_assert_eq(request->identity->nonce.len, 16);
    cr_assert_eq(memcmp(request->identity->nonce.data, call.identity.nonce, 16), 0);
    cr_assert_eq(request->identity->issued_at_ns, call.identity.issued_at_ns);
    cr_assert_eq(request->transfers[2]->amount, 5);
    cr_assert_eq(request->transfers[2]->amount_high, 9);
    cr_assert_eq(request->transfers[2]->id.data[0], 3);
    cr_assert_eq(request->transfers[2]->user_data_128.len, 0);
    tally__v1__create_transfers_request__free_unpacked(request, NULL);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* Nobody listens on the port: nothing can have happened, and that is what is said. */
Test(call, an_unreachable_server_is_not_sent, .timeout = 20)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    struct tally_client *client = connect_to(fake, "127.0.0.1:1", 0);
    struct tally_call call = new_call(200);
    struct tally_account account;
    size_t count;
    uint8_t result;
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 1, &result), TALLY_NOT_SENT, "%s",
                 call.error.text);
    cr_assert(strstr(call.error.text, "nothing was executed") != NULL, "%s", call.error.text);
    call = (struct tally_call){.deadline_ms = 200};
    cr_assert_eq(tally_lookup_accounts(client, &call, &transfers[0].id, 1, &account, &count),
                 TALLY_NOT_SENT);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* Within the deadline there would be room for many. */
Test(call, no_more_attempts_than_allowed, .timeout = 20)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    struct tally_client *client = connect_to(fake, "127.0.0.1:1", 0);
    struct tally_call call = {.deadline_ms = 15000};
    char *text;
    for (call.attempts_max = 1; call.attempts_max <= 3; call.attempts_max++) {
        cr_assert_eq(tally_get_status(client, &call, &text), TALLY_NOT_SENT, "%s", call.error.text);
        cr_assert_eq(call.error.attempt_count, call.attempts_max);
    }
    tally_client_destroy(client);
    fake_stop(fake);
}

/* The first of two servers is dead: the call moves on without waiting for its deadline. */
Test(call, the_next_server_is_tried, .timeout = 20)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    char servers[64];
    snprintf(servers, sizeof servers, "127.0.0.1:1,127.0.0.1:%u", fake->port);
    struct tally_client *client = connect_to(fake, servers, 0);
    struct tally_call call = new_call(10000);
    uint8_t results[3];
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 3, results), TALLY_OK, "%s",
                 call.error.text);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* A question that nobody answers is just that; one that is denied says so. */
Test(call, questions_are_never_unknown, .timeout = 20)
{
    static const struct step steps[] = {{.forget = true}, {.code = GRPC_PERMISSION_DENIED}};
    struct fake *fake = fake_start(steps, 2);
    struct tally_client *client = connect_to(fake, NULL, 0);
    struct tally_call call = {.deadline_ms = 150};
    char *json;
    cr_assert_eq(tally_get_status(client, &call, &json), TALLY_NO_ANSWER, "%s", call.error.text);
    cr_assert_eq(tally_get_status(client, &call, &json), TALLY_REFUSED, "%s", call.error.text);
    cr_assert_eq(call.error.grpc_code, GRPC_PERMISSION_DENIED);
    tally_client_destroy(client);
    fake_stop(fake);
}

Test(call, arguments_are_checked_before_anything_is_sent, .timeout = 20)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    struct tally_client *client = connect_to(fake, NULL, 0);
    struct tally_call call = {.deadline_ms = 1000};
    struct tally_account account;
    size_t count;
    uint8_t result;
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 1, &result), TALLY_INVALID);
    cr_assert(strstr(call.error.text, "tally_identity_new") != NULL);
    call = new_call(1000);
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 0, &result), TALLY_INVALID);
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 8191, &result), TALLY_INVALID);
    cr_assert_eq(tally_lookup_accounts(client, &call, &transfers[0].id, 0, &account, &count),
                 TALLY_INVALID);
    call = new_call(24 * 3600 * 1000 + 1);
    cr_assert_eq(tally_create_transfers(client, &call, transfers, 1, &result), TALLY_INVALID);
    tally_client_destroy(client);
    fake_join(fake);
    cr_assert_eq(fake->request_count, 0);
    fake_stop(fake);
}

Test(call, options_that_are_wrong_name_themselves)
{
    static const struct {
        struct tally_options options;
        const char *words;
    } rows[] = {
        {{.ca_file = "a", .certificate_file = "b", .key_file = "c"}, "servers is not set"},
        {{.servers = "h:1", .certificate_file = "b", .key_file = "c"}, "ca_file is not set"},
        {{.servers = "h", .ca_file = "a", .certificate_file = "b", .key_file = "c"}, "\"h\""},
        {{.servers = "h:0", .ca_file = "a", .certificate_file = "b", .key_file = "c"}, "\"h:0\""},
        {{.servers = "h:65536", .ca_file = "a", .certificate_file = "b", .key_file = "c"},
         "\"h:65536\""},
        {{.servers = "h:1,", .ca_file = "a", .certificate_file = "b", .key_file = "c"}, "\"\""},
        {{.servers = "::1:80", .ca_file = "a", .certificate_file = "b", .key_file = "c"},
         "[address]:port"},
        {{.servers = "h:1", .ca_file = "/no/ca", .certificate_file = "/no/c", .key_file = "/no/k"},
         "/no/"},
        {{.servers = "h:1",
          .ca_file = "a",
          .certificate_file = "b",
          .key_file = "c",
          .in_flight_max = 65},
         "in_flight_max 65"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct tally_client *client = NULL;
        struct tally_error error;
        cr_assert_eq(tally_client_create(&rows[i].options, &client, &error), TALLY_INVALID,
                     "row %zu", i);
        cr_assert(strstr(error.text, rows[i].words) != NULL, "row %zu: %s", i, error.text);
        cr_assert_null(client);
    }
}

/* ---- many at once ---- */

struct pipeline {
    struct tally_client *client;
    size_t started, ended, ok;
    enum tally_status inside; /* of a blocking call made in a callback */
    struct tally_call calls[40];
    uint8_t results[40][3];
};

static void ended_cb(struct tally_call *call, enum tally_status status)
{
    struct pipeline *p = call->user;
    p->ended++;
    p->ok += status == TALLY_OK;
    struct tally_call blocking = new_call(100);
    uint8_t results[3];
    p->inside = tally_create_transfers(p->client, &blocking, transfers, 3, results);
    if (p->started == 40)
        return;
    struct tally_call *next = &p->calls[p->started];
    *next = new_call(10000);
    next->user = p;
    cr_assert_eq(
        tally_submit_transfers(p->client, next, transfers, 3, p->results[p->started], ended_cb),
        TALLY_OK);
    p->started++;
}

/* Four in flight, the fifth is busy; each callback starts the next until forty have ended. */
Test(call, submitted_calls_are_bounded_and_each_ends_once, .timeout = 60)
{
    struct fake *fake = fake_start(&(struct step){.code = GRPC_OK}, 1);
    struct pipeline p = {.client = connect_to(fake, NULL, 4), .inside = TALLY_OK};
    for (; p.started < 4; p.started++) {
        p.calls[p.started] = new_call(10000);
        p.calls[p.started].user = &p;
        cr_assert_eq(tally_submit_transfers(p.client, &p.calls[p.started], transfers, 3,
                                            p.results[p.started], ended_cb),
                     TALLY_OK);
    }
    struct tally_call fifth = new_call(1000);
    uint8_t results[3];
    cr_assert_eq(tally_submit_transfers(p.client, &fifth, transfers, 3, results, ended_cb),
                 TALLY_BUSY);
    cr_assert_eq(p.ended, 0, "a callback fired inside submit");
    while (tally_in_flight(p.client) > 0)
        cr_assert_gt(tally_wait(p.client, 5000), 0u);
    cr_assert_eq(p.ended, 40);
    cr_assert_eq(p.ok, 40);
    cr_assert_eq(p.inside, TALLY_INVALID, "a call that blocks was let into a callback");
    cr_assert_eq(tally_wait(p.client, 5000), 0u);
    for (size_t i = 0; i < 40; i++)
        cr_assert_eq(p.results[i][2], 2);
    tally_client_destroy(p.client);
    fake_join(fake);
    cr_assert_eq(fake->request_count, 40);
    fake_stop(fake);
}

static void keep_status(struct tally_call *call, enum tally_status status)
{
    *(enum tally_status *)call->user = status;
}

/* Two calls in flight, one of them at a server that forgets it: destroying ends both, once. */
Test(call, destroying_a_client_ends_what_is_in_flight_as_unknown, .timeout = 20)
{
    static const struct step steps[] = {{.forget = true}};
    struct fake *fake = fake_start(steps, 1);
    struct tally_client *client = connect_to(fake, NULL, 4);
    enum tally_status statuses[2] = {TALLY_OK, TALLY_OK};
    struct tally_call calls[2];
    uint8_t results[2][3];
    for (size_t i = 0; i < 2; i++) {
        calls[i] = new_call(60000);
        calls[i].user = &statuses[i];
        cr_assert_eq(
            tally_submit_transfers(client, &calls[i], transfers, 3, results[i], keep_status),
            TALLY_OK);
    }
    /* until both have arrived: then neither can be "not sent" */
    for (size_t arrived = 0; arrived < 2;) {
        cr_assert_eq(tally_wait(client, 5), 0u);
        pthread_mutex_lock(&fake->lock);
        arrived = fake->request_count;
        pthread_mutex_unlock(&fake->lock);
    }
    tally_client_destroy(client);
    cr_assert_eq(statuses[0], TALLY_UNKNOWN);
    cr_assert_eq(statuses[1], TALLY_UNKNOWN);
    fake_stop(fake);
}

/* Nothing answers; the wait itself is bounded. */
Test(call, waiting_ends_with_its_timeout, .timeout = 20)
{
    static const struct step steps[] = {{.forget = true}};
    struct fake *fake = fake_start(steps, 1);
    struct tally_client *client = connect_to(fake, NULL, 1);
    enum tally_status status = TALLY_OK;
    struct tally_call call = new_call(400);
    uint8_t results[3];
    call.user = &status;
    cr_assert_eq(tally_submit_transfers(client, &call, transfers, 3, results, keep_status),
                 TALLY_OK);
    cr_assert_eq(tally_wait(client, 1), 0u);
    cr_assert_eq(tally_in_flight(client), 1u);
    while (tally_in_flight(client) > 0)
        (void)tally_wait(client, 1000);
    cr_assert_eq(status, TALLY_UNKNOWN);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* A server that cannot serve now says when it may; another one is asked at once all the same. (One
 * server under two names.) */
Test(call, hint_of_one_server_does_not_hold_up_the_next, .timeout = 60)
{
    struct fake *fake = fake_start(
        (const struct step[]){
            {.code = GRPC_UNAVAILABLE, .outcome = "NOT_ACCEPTED", .retry_ms = "30000"},
            {.code = GRPC_OK}},
        2);
    char servers[64];
    uint8_t results[3];
    snprintf(servers, sizeof servers, "127.0.0.1:%u,localhost:%u", fake->port, fake->port);
    struct tally_client *client = connect_to(fake, servers, 1);
    struct tally_call call = new_call(5000);
    cr_expect_eq(tally_create_transfers(client, &call, transfers, 3, results), TALLY_OK, "%s",
                 call.error.text);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* A question may say how old a state it will do with; a request that changes something may not. */
Test(call, greatest_age_goes_with_questions_only, .timeout = 60)
{
    struct fake *fake = fake_start((const struct step[]){{.code = GRPC_OK, .raw = ""}}, 1);
    struct tally_client *client = connect_to(fake, NULL, 1);
    struct tally_call call = {.deadline_ms = 5000, .max_age_ms = 1500};
    char *json;
    cr_assert_eq(tally_get_status(client, &call, &json), TALLY_OK, "%s", call.error.text);
    tally_free(json);
    pthread_mutex_lock(&fake->lock);
    cr_expect_eq(fake->max_age_ns, 1500000000u);
    pthread_mutex_unlock(&fake->lock);
    uint8_t results[3];
    call = new_call(5000);
    call.max_age_ms = 1500;
    (void)tally_create_transfers(client, &call, transfers, 3, results); /* the answer is none */
    call = (struct tally_call){.max_age_ms = 24 * 3600 * 1000 + 1};
    cr_expect_eq(tally_get_status(client, &call, &json), TALLY_INVALID);
    tally_client_destroy(client);
    fake_join(fake);
    cr_expect_eq(fake->max_age_ns, 0);
    fake_stop(fake);
}

static const struct tally_member a_member = {
    .node_id = 3, .kind = TALLY_MEMBER_WITNESS, .incarnation = {7}, .site = "W", .address = "w:1"};

/* A node that does not lead turns the change away, an attempt gets lost: the same bytes are sent
 * until the leader has them. No identity is needed. */
Test(call, change_of_members_looks_for_the_leader, .timeout = 60)
{
    struct fake *fake =
        fake_start((const struct step[]){{.code = GRPC_UNAVAILABLE, .outcome = "NOT_ACCEPTED"},
                                         {.code = GRPC_UNAVAILABLE, .outcome = "UNKNOWN"},
                                         {.code = GRPC_OK, .raw = ""}},
                   3);
    struct tally_client *client = connect_to(fake, NULL, 1);
    struct tally_call call = {.deadline_ms = 10000};
    cr_expect_eq(tally_add_member(client, &call, &a_member, true), TALLY_OK, "%s", call.error.text);
    tally_client_destroy(client);
    fake_join(fake);
    cr_assert_eq(fake->request_count, 3);
    Tally__V1__AddMemberRequest *sent =
        tally__v1__add_member_request__unpack(NULL, fake->sizes[0], fake->requests[0]);
    cr_assert_not_null(sent);
    cr_expect(sent->force);
    cr_expect_eq(sent->member->node_id, 3);
    cr_expect_eq(sent->member->kind, TALLY__V1__MEMBER_KIND__WITNESS);
    cr_expect_str_eq(sent->member->site, "W");
    cr_expect_str_eq(sent->member->address, "w:1");
    cr_expect_arr_eq(sent->member->incarnation.data, a_member.incarnation, 16);
    tally__v1__add_member_request__free_unpacked(sent, NULL);
    cr_expect_eq(memcmp(fake->requests[0], fake->requests[2], fake->sizes[0]), 0);
    fake_stop(fake);
}

/* A rule stands in the way: the node's words, once. No answer in time: what that means for members,
 * not what it means for a question. */
Test(call, change_of_members_ends_in_words, .timeout = 60)
{
    struct fake *fake =
        fake_start((const struct step[]){{.code = GRPC_FAILED_PRECONDITION}, {.forget = true}}, 2);
    struct tally_client *client = connect_to(fake, NULL, 1);
    struct tally_call call = {.deadline_ms = 5000};
    cr_expect_eq(tally_add_member(client, &call, &a_member, false), TALLY_REFUSED);
    cr_expect(strstr(call.error.text, "as the test said"), "%s", call.error.text);
    cr_expect_not(call.error.retryable);
    uint64_t leader = 99;
    call = (struct tally_call){.deadline_ms = 200};
    cr_expect_eq(tally_transfer_leadership(client, &call, 2, &leader), TALLY_NO_ANSWER);
    cr_expect(strstr(call.error.text, "tally member list"), "%s", call.error.text);
    cr_expect_eq(leader, 99);
    tally_client_destroy(client);
    fake_stop(fake);
}

/* Answers that are none: garbage, a member without an incarnation. */
Test(call, nonsense_about_members_is_refused, .timeout = 60)
{
    struct fake *fake =
        fake_start((const struct step[]){{.code = GRPC_OK, .raw = "\x0a\x01\xff"},
                                         {.code = GRPC_OK, .raw = "\x0a\x02\x0a\x01"},
                                         {.code = GRPC_OK, .raw = "\x0a\x02\x18\x01"},
                                         {.code = GRPC_OK, .raw = ""}},
                   4);
    struct tally_client *client = connect_to(fake, NULL, 1);
    struct tally_members members = {.count = 55};
    for (int i = 0; i < 3; i++) {
        struct tally_call call = {.deadline_ms = 5000};
        cr_expect_eq(tally_list_members(client, &call, &members), TALLY_NO_ANSWER, "%d", i);
        cr_expect_eq(members.count, 55);
    }
    struct tally_call call = {.deadline_ms = 5000};
    cr_expect_eq(tally_list_members(client, &call, &members), TALLY_OK, "%s", call.error.text);
    cr_expect_eq(members.count, 0);
    tally_client_destroy(client);
    fake_stop(fake);
}
