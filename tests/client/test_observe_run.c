/*
 * The engine of `tally observe` against a server that does what each test tells it: the real gRPC
 * engine in a thread of its own, a false service. What became of unknown requests, that the load is
 * open, and that everything is bounded.
 */
#include "client/cli/certificate.h"
#include "client/cli/observe.h"
#include "server/grpc.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tally/v1/ledger.pb-c.h"

#define MS         1000000ull
#define CALLS_KEPT 4096

enum behaviour {
    ANSWERS,
    SILENT,       /* transfers are never answered */
    NOT_ACCEPTED, /* turned away before the log */
    BROKEN,       /* UNAVAILABLE without an outcome: unknown */
};

struct fake {
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    struct grpc_server *server;
    char directory[64], ca[128], certificate[128], key[128], client[128], client_key[128];
    uint16_t port;
    enum behaviour behaviour;
    Tally__V1__Outcome told, fenced; /* what GetRequest and FenceRequest say */
    /* Written by the server's thread, read after it has ended. */
    size_t transfers, questions, fences;
    struct grpc_call *kept[CALLS_KEPT];
    size_t kept_count;
};

static void reply(struct grpc_call *call, const ProtobufCMessage *message)
{
    uint8_t *out = grpc_call_reserve(call, protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, out);
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void handle_transfer(void *context, struct grpc_call *call, const uint8_t *message,
                            size_t size)
{
    struct fake *fake = context;
    (void)message;
    (void)size;
    fake->transfers++;
    grpc_call_add_trailer(call, "tally-leader", "7");
    if (fake->behaviour == SILENT) {
        if (fake->kept_count < CALLS_KEPT)
            fake->kept[fake->kept_count++] = call;
    } else if (fake->behaviour == NOT_ACCEPTED) {
        grpc_call_add_trailer(call, "tally-outcome", "NOT_ACCEPTED");
        grpc_call_finish(call, GRPC_UNAVAILABLE, "no leader");
    } else if (fake->behaviour == BROKEN) {
        grpc_call_finish(call, GRPC_UNAVAILABLE, "gone");
    } else {
        Tally__V1__Result results[1] = {TALLY__V1__RESULT__OK};
        Tally__V1__CreateTransfersResponse answer = TALLY__V1__CREATE_TRANSFERS_RESPONSE__INIT;
        answer.n_results = 1;
        answer.results = results;
        answer.index = 5;
        answer.timestamp = 6;
        reply(call, &answer.base);
    }
}

static void tell(struct grpc_call *call, Tally__V1__Outcome outcome)
{
    /* Results: one OK; index 9, stamp 10. */
    static uint8_t body[] = {0x0a, 1,    0,  0x11, 9, 0, 0, 0, 0, 0, 0,
                             0,    0x19, 10, 0,    0, 0, 0, 0, 0, 0};
    static char method[] = "CreateTransfers";
    Tally__V1__GetRequestResponse answer = TALLY__V1__GET_REQUEST_RESPONSE__INIT;
    answer.outcome = outcome;
    if (outcome == TALLY__V1__OUTCOME__EXECUTED) {
        answer.method = method;
        answer.answer.data = body;
        answer.answer.len = sizeof body;
    }
    reply(call, &answer.base);
}

static void handle_question(void *context, struct grpc_call *call, const uint8_t *message,
                            size_t size)
{
    struct fake *fake = context;
    (void)message;
    (void)size;
    fake->questions++;
    tell(call, fake->told);
}

static void handle_fence(void *context, struct grpc_call *call, const uint8_t *message, size_t size)
{
    struct fake *fake = context;
    (void)message;
    (void)size;
    fake->fences++;
    tell(call, fake->fenced);
}

static void drained(void *context)
{
    struct fake *fake = context;
    grpc_server_destroy(fake->server);
}

static void stop_cb(uv_async_t *async)
{
    struct fake *fake = async->data;
    for (size_t i = 0; i < fake->kept_count; i++)
        grpc_call_finish(fake->kept[i], GRPC_CANCELLED, NULL);
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

static void write_text(const char *path, char *text)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    free(text);
}

static void make_certificates(struct fake *fake)
{
    static const char *const hosts[] = {"127.0.0.1"};
    struct certificate_error error;
    struct certificate_pair *ca = certificate_create_ca("Test", 10, &error);
    struct certificate_pair *node =
        certificate_issue(ca,
                          &(struct certificate_options){.common_name = "node",
                                                        .uri = "spiffe://tallystick/node/1",
                                                        .hosts = hosts,
                                                        .host_count = 1,
                                                        .server = true,
                                                        .days = 5},
                          &error);
    struct certificate_pair *client = certificate_issue(
        ca, &(struct certificate_options){.common_name = "c", .uri = "tally://channel", .days = 5},
        &error);
    write_text(fake->ca, certificate_pem(ca));
    write_text(fake->certificate, certificate_pem(node));
    write_text(fake->key, certificate_key_pem(node));
    write_text(fake->client, certificate_pem(client));
    write_text(fake->client_key, certificate_key_pem(client));
    certificate_destroy(ca);
    certificate_destroy(node);
    certificate_destroy(client);
}

static void fake_start(struct fake *fake)
{
    struct grpc_error error;
    strcpy(fake->directory, "/tmp/tally-observe-XXXXXX");
    cr_assert_not_null(mkdtemp(fake->directory));
    char *paths[] = {fake->ca, fake->certificate, fake->key, fake->client, fake->client_key};
    for (int i = 0; i < 5; i++)
        snprintf(paths[i], sizeof fake->ca, "%s/%d", fake->directory, i);
    make_certificates(fake);
    uv_loop_init(&fake->loop);
    uv_async_init(&fake->loop, &fake->stop, stop_cb);
    fake->stop.data = fake;
    const struct grpc_server_options options = {.loop = &fake->loop,
                                                .host = "127.0.0.1",
                                                .certificate_file = fake->certificate,
                                                .key_file = fake->key,
                                                .ca_file = fake->ca};
    cr_assert_eq(grpc_server_create(&options, &fake->server, &error), STATUS_OK, "%s", error.text);
    const struct grpc_method methods[] = {
        {.path = "/tally.v1.Ledger/CreateTransfers", .message = handle_transfer, .context = fake},
        {.path = "/tally.v1.Ledger/GetRequest", .message = handle_question, .context = fake},
        {.path = "/tally.v1.Ledger/FenceRequest", .message = handle_fence, .context = fake},
    };
    for (size_t i = 0; i < 3; i++)
        grpc_server_add(fake->server, &methods[i]);
    cr_assert_eq(grpc_server_listen(fake->server, &fake->port, &error), STATUS_OK, "%s",
                 error.text);
    cr_assert_eq(pthread_create(&fake->thread, NULL, serve, fake), 0);
}

static void fake_stop(struct fake *fake)
{
    uv_async_send(&fake->stop);
    pthread_join(fake->thread, NULL);
    for (int i = 0; i < 5; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%d", fake->directory, i);
        unlink(path);
    }
    rmdir(fake->directory);
}

/* Where all are answered nobody waits for it, and a machine that stands still does not reach it. */
static void patient(struct observe *run)
{
    run->deadline_ns = 20000 * MS;
}

/* One second, a canary every 20 ms, all of which are over at their deadline: later than a machine
 * stands still, so that each is sent before. */
#define DEADLINE_MS 2400
static struct observe *observed(struct fake *fake, void (*change)(struct observe *run))
{
    static struct observe run;
    char site[64], error[OBSERVE_TEXT_SIZE];
    run = (struct observe){.ca = fake->ca,
                           .certificate = fake->client,
                           .key = fake->client_key,
                           .ledger = 1,
                           .every_ns = 20 * MS,
                           .duration_ns = 1000 * MS,
                           .deadline_ns = DEADLINE_MS * MS,
                           .attempt_ns = DEADLINE_MS / 3 * MS,
                           .resolve_ns = 20000 * MS,
                           .in_flight_max = 1000,
                           .records_max = 1000,
                           .quiet = true};
    signal(SIGPIPE, SIG_IGN);
    snprintf(site, sizeof site, "A=127.0.0.1:%u", fake->port);
    cr_assert(observe_site_parse(&run, site, error));
    if (change != NULL)
        change(&run);
    cr_assert(observe_records_init(&run));
    cr_assert(observe_run(&run), "%s", run.error);
    return &run;
}

static size_t count(const struct observe *run, enum observe_outcome outcome)
{
    size_t found = 0;
    for (size_t i = 0; i < run->sites[0].count; i++)
        found += run->sites[0].records[i].outcome == outcome;
    return found;
}

/* A healthy server: 50 canaries at their moments, each answered, with what the trailers said. */
Test(observe_run, every_canary_is_sent_at_its_moment_and_recorded)
{
    struct fake fake = {.behaviour = ANSWERS};
    fake_start(&fake);
    struct observe *run = observed(&fake, patient);
    fake_stop(&fake);
    const struct observe_record *records = run->sites[0].records;
    cr_assert_eq(run->sites[0].count, 50);
    cr_expect_eq(count(run, OBSERVE_ACKNOWLEDGED), 50);
    for (size_t i = 0; i < 50; i++) {
        cr_expect_eq(records[i].intended_ns, i * 20 * MS);
        cr_expect_geq(records[i].sent_ns, records[i].intended_ns);
        cr_expect_gt(records[i].answered_ns, records[i].sent_ns);
        cr_expect_eq(records[i].leader, 7);
        cr_expect_eq(records[i].index, 5);
        cr_expect_eq(records[i].timestamp_ns, 6);
    }
    observe_records_deinit(run);
}

/* The server swallows every transfer: the load goes on as if nothing was; each is unknown at its
 * deadline, asked about, and found posted. */
Test(observe_run, a_silent_server_slows_nothing_and_unknowns_are_found_posted)
{
    struct fake fake = {.behaviour = SILENT, .told = TALLY__V1__OUTCOME__EXECUTED};
    fake_start(&fake);
    struct observe *run = observed(&fake, NULL);
    fake_stop(&fake);
    cr_expect_eq(run->sites[0].count, 50);
    cr_expect_eq(count(run, OBSERVE_FOUND_POSTED), 50);
    cr_expect_eq(run->sites[0].records[3].index, 9);
    cr_expect_gt(run->sites[0].records[3].resolved_ns, run->sites[0].records[3].intended_ns);
    cr_expect_gt(fake.transfers, 50, "%zu attempts", fake.transfers); /* repeated when silent */
    cr_expect_eq(fake.questions, 50);
    cr_expect_eq(fake.fences, 0);
    observe_records_deinit(run);
}

/* Unknown, and never seen by the ledger: each is fenced, so that "never" is final. */
Test(observe_run, an_unknown_that_was_never_seen_is_fenced)
{
    struct fake fake = {.behaviour = BROKEN,
                        .told = TALLY__V1__OUTCOME__NOT_YET_SEEN,
                        .fenced = TALLY__V1__OUTCOME__REQUEST_FENCED};
    fake_start(&fake);
    struct observe *run = observed(&fake, NULL);
    fake_stop(&fake);
    cr_expect_eq(count(run, OBSERVE_FOUND_NEVER), 50);
    cr_expect_eq(fake.fences, 50);
    observe_records_deinit(run);
}

/* The request comes through between the question and the fence: the fence's answer counts. */
Test(observe_run, an_execution_that_beats_the_fence_is_found_posted)
{
    struct fake fake = {.behaviour = BROKEN,
                        .told = TALLY__V1__OUTCOME__NOT_YET_SEEN,
                        .fenced = TALLY__V1__OUTCOME__EXECUTED};
    fake_start(&fake);
    struct observe *run = observed(&fake, NULL);
    fake_stop(&fake);
    cr_expect_eq(count(run, OBSERVE_FOUND_POSTED), 50);
    observe_records_deinit(run);
}

static void resolve_for_half_a_second(struct observe *run)
{
    run->resolve_ns = 500 * MS;
}

/* Nobody ever tells: they stay unknown, and the run ends all the same. */
Test(observe_run, what_nobody_tells_stays_unknown_and_the_run_ends, .timeout = 20)
{
    struct fake fake = {.behaviour = BROKEN, .told = TALLY__V1__OUTCOME__BEYOND_WINDOW};
    fake_start(&fake);
    struct observe *run = observed(&fake, resolve_for_half_a_second);
    fake_stop(&fake);
    cr_expect_eq(count(run, OBSERVE_UNKNOWN), 50);
    observe_records_deinit(run);
}

/* Turned away before the log, again and again: certainly not executed; nothing to ask about. An
 * attempt that a machine standing still leaves unanswered at a deadline is in doubt, rightly: then
 * the run is made again. */
Test(observe_run, what_was_never_accepted_is_not_in_doubt)
{
    struct fake fake;
    struct observe *run = NULL;
    for (int attempt = 0; attempt < 10; attempt++) {
        if (run != NULL)
            observe_records_deinit(run);
        fake = (struct fake){.behaviour = NOT_ACCEPTED};
        fake_start(&fake);
        run = observed(&fake, NULL);
        fake_stop(&fake);
        if (count(run, OBSERVE_NOT_EXECUTED) == 50 && fake.questions == 0)
            break;
    }
    cr_expect_eq(count(run, OBSERVE_NOT_EXECUTED), 50);
    cr_expect_eq(fake.questions, 0);
    cr_expect_not_null(strstr(run->sites[0].words, "no leader"));
    cr_expect_gt(run->sites[0].records[0].refused_ns, 0);
    cr_expect_leq(run->sites[0].records[0].refused_ns, DEADLINE_MS * MS);
    cr_expect_eq(run->event_count, 2); /* these words, once, and the leader of the trailers */
    cr_expect_str_eq(run->events[0].text, "site A: no leader");
    observe_records_deinit(run);
}

static void five_in_flight(struct observe *run)
{
    run->in_flight_max = 5;
}

/* Five may wait for the silent server; the others are recorded as not sent, none is missing. */
Test(observe_run, a_full_house_is_recorded_and_not_waited_for)
{
    struct fake fake = {.behaviour = SILENT, .told = TALLY__V1__OUTCOME__EXECUTED};
    fake_start(&fake);
    struct observe *run = observed(&fake, five_in_flight);
    fake_stop(&fake);
    cr_expect_eq(run->sites[0].count, 50);
    cr_expect_gt(count(run, OBSERVE_NOT_SENT), 20);
    cr_expect_eq(count(run, OBSERVE_NOT_SENT) + count(run, OBSERVE_FOUND_POSTED), 50);
    observe_records_deinit(run);
}

static void ten_records(struct observe *run)
{
    patient(run);
    run->records_max = 10;
}

/* Full records end the run, which says so. */
Test(observe_run, full_records_end_the_run)
{
    struct fake fake = {.behaviour = ANSWERS};
    fake_start(&fake);
    struct observe *run = observed(&fake, ten_records);
    fake_stop(&fake);
    cr_expect(run->records_full);
    cr_expect_eq(count(run, OBSERVE_ACKNOWLEDGED), 10);
    cr_expect_eq(run->ended_ns, 200 * MS);
    observe_records_deinit(run);
}

static void two_servers(struct observe *run)
{
    char error[OBSERVE_TEXT_SIZE], site[64];
    patient(run);
    snprintf(site, sizeof site, "A=127.0.0.1:1,127.0.0.1:%u", run->servers[0].port);
    memset(run->sites, 0, sizeof run->sites);
    run->site_count = run->server_count = 0;
    cr_assert(observe_site_parse(run, site, error));
}

/* One of the site's two servers is gone: those that asked it first are served by the other. */
Test(observe_run, repeats_go_to_the_sites_other_server)
{
    struct fake fake = {.behaviour = ANSWERS};
    fake_start(&fake);
    struct observe *run = observed(&fake, two_servers);
    fake_stop(&fake);
    cr_expect_eq(count(run, OBSERVE_ACKNOWLEDGED), 50);
    for (size_t i = 0; i < 50; i++)
        cr_expect_eq(run->sites[0].records[i].server, 1);
    observe_records_deinit(run);
}

static void dead_site_cross(struct observe *run)
{
    char error[OBSERVE_TEXT_SIZE], site[64];
    patient(run);
    snprintf(site, sizeof site, "B=127.0.0.1:%u", run->servers[0].port);
    memset(run->sites, 0, sizeof run->sites);
    run->site_count = run->server_count = 0;
    cr_assert(observe_site_parse(run, "A=127.0.0.1:1", error));
    cr_assert(observe_site_parse(run, site, error));
    run->cross_site = true;
}

/* Site A's only server is gone: with --cross-site its clients are served by site B. */
Test(observe_run, with_cross_site_the_other_site_is_asked)
{
    struct fake fake = {.behaviour = ANSWERS};
    fake_start(&fake);
    struct observe *run = observed(&fake, dead_site_cross);
    fake_stop(&fake);
    cr_expect_eq(run->sites[0].count, 50);
    cr_expect_eq(count(run, OBSERVE_ACKNOWLEDGED), 50);
    cr_expect_eq(run->sites[0].records[0].server, 1);
    observe_records_deinit(run);
}
