/*
 * The n-th allocation of ours fails, for every n, on both ends of calls through TLS: no crash, no
 * leak, no call that ends twice or never, and no answer that is wrong.
 *
 * malloc, calloc and realloc are wrapped by the linker, so only the project's own objects are hit;
 * what libuv, OpenSSL and nghttp2 allocate is theirs.
 */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool is_counting;
static uint64_t allocation_count, failing_allocation; /* counted from 1; 0 = none fails */

static bool fails(void)
{
    return is_counting && ++allocation_count == failing_allocation;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails() ? NULL : __real_realloc(memory, size);
}

static struct loopback bed;
static uint8_t request[300000];

TestSuite(grpc_memory, .timeout = 110);

static struct http2_client *make_client(void)
{
    char files[3][160];
    const char *const names[] = {"client.pem", "client.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", bed.directory, names[i]);
    struct http2_client_options options = {
        .loop = &bed.loop,
        .host = "127.0.0.1",
        .port = bed.port,
        .certificate_file = files[0],
        .key_file = files[1],
        .ca_file = files[2],
        .server_name = "localhost",
    };
    struct http2_client *client = NULL;
    struct net_error error;
    enum status status = http2_client_create(&options, &client, &error);
    cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY, "%s", error.text);
    return status == STATUS_OK ? client : NULL;
}

static void call_done(struct http2_call *call)
{
    struct tracked_call *tracked = (struct tracked_call *)call;
    tracked->done = true;
    tracked->done_count++;
    if (call->fate == HTTP2_ANSWERED && call->grpc_status == 0) {
        cr_assert_eq(call->answer_size, call->request_size);
        cr_assert_eq(memcmp(call->answer, call->request, call->request_size), 0);
    }
}

/* One call with a deadline; returns whether it was answered well. */
static bool try_call(struct http2_client *client, size_t size)
{
    struct tracked_call tracked = {.call = {.path = "/test/Echo",
                                            .request = request,
                                            .request_size = size,
                                            .timeout_ns = 1500000000,
                                            .done = call_done}};
    enum status status = http2_client_call(client, &tracked.call);
    cr_assert(status == STATUS_OK || status == STATUS_NO_MEMORY);
    if (status != STATUS_OK)
        return false;
    loopback_wait(&bed, &tracked.done);
    loopback_run_ms(&bed, 0);
    cr_assert_eq(tracked.done_count, 1);
    return tracked.call.fate == HTTP2_ANSWERED && tracked.call.grpc_status == 0;
}

/* A small call and one of 300 kB (grants, queued writes), from nothing to the end of the client. */
static bool run_client(void)
{
    struct http2_client *client = make_client();
    if (!client)
        return false;
    bool is_good = try_call(client, 100);
    is_good = try_call(client, sizeof request) && is_good;
    loopback_stop_client(&bed, client);
    return is_good;
}

Test(grpc_memory, any_allocation_may_fail)
{
    for (size_t i = 0; i < sizeof request; i++)
        request[i] = (uint8_t)(i * 40503u >> 7);
    uint64_t failed_runs = 0;
    bool is_complete = false;
    for (failing_allocation = 1; !is_complete; failing_allocation++) {
        cr_assert_lt(failing_allocation, 2000, "the run never got by without the failure");
        loopback_init(&bed, NULL, NULL);
        allocation_count = 0;
        is_counting = true;
        bool is_good = run_client();
        is_counting = false;
        is_complete = allocation_count < failing_allocation;
        if (is_complete)
            cr_assert(is_good, "nothing failed, and the calls did");
        failed_runs += !is_good;
        /* Whatever broke, the next client is served. */
        cr_assert(run_client(), "the server did not recover from allocation %llu",
                  (unsigned long long)failing_allocation);
        loopback_deinit(&bed);
    }
    cr_log_info("%llu allocations, %llu runs failed", (unsigned long long)failing_allocation - 2,
                (unsigned long long)failed_runs);
    cr_assert_gt(failed_runs, 5, "the failures were not where they hurt");
}

/* The server's making: each failure is an error, and leaves nothing. */
Test(grpc_memory, a_server_that_cannot_be_made_leaves_nothing)
{
    loopback_init(&bed, NULL, NULL);
    char files[3][160];
    const char *const names[] = {"server.pem", "server.key", "ca.pem"};
    for (int i = 0; i < 3; i++)
        (void)snprintf(files[i], sizeof files[i], "%s/%s", bed.directory, names[i]);
    struct grpc_server_options options = {.loop = &bed.loop,
                                          .host = "127.0.0.1",
                                          .certificate_file = files[0],
                                          .key_file = files[1],
                                          .ca_file = files[2]};
    bool is_made = false;
    for (failing_allocation = 1; !is_made; failing_allocation++) {
        struct grpc_server *server = NULL;
        struct grpc_error error = {.text = ""};
        allocation_count = 0;
        is_counting = true;
        enum status status = grpc_server_create(&options, &server, &error);
        is_counting = false;
        is_made = status == STATUS_OK;
        if (is_made)
            grpc_server_destroy(server);
        else
            cr_assert(status == STATUS_NO_MEMORY && error.text[0], "%s", error.text);
    }
    cr_assert_gt(failing_allocation, 2);
    loopback_deinit(&bed);
}
