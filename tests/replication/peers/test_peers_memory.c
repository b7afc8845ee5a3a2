/*
 * The n-th allocation of ours fails, for every n, at both ends: nothing crashes, leaks or waits for
 * ever, and as memory is back the lanes come up and carry what is sent.
 *
 * malloc, calloc and realloc are wrapped by the linker, so only the project's own objects are hit;
 * what libuv and OpenSSL allocate is theirs.
 */
#include "peers_rig.h"

#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static bool is_counting;
static uint64_t allocation_count, failing_allocation; /* counted from 1 */

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

static struct rig rig;

static void setup(void)
{
    rig_init(&rig);
}

static void teardown(void)
{
    rig_deinit(&rig);
}

TestSuite(peers_memory, .init = setup, .fini = teardown, .timeout = 110);

static void set_closed(void *context)
{
    *(bool *)context = true;
}

Test(peers_memory, making_fails_in_words_and_gives_everything_back)
{
    uv_loop_t loop;
    cr_assert_eq(uv_loop_init(&loop), 0);
    struct peers_options options = {
        .loop = &loop,
        .listen_host = "127.0.0.1",
        .certificate_file = rig_file(&rig, "n1.pem"),
        .key_file = rig_file(&rig, "n1.key"),
        .ca_file = rig_file(&rig, "ca.pem"),
    };
    uint64_t failures = 0;
    for (failing_allocation = 1;; failing_allocation++) {
        struct peers *peers = NULL;
        struct net_error error = {.text = ""};
        allocation_count = 0;
        is_counting = true;
        enum status status = peers_create(&options, &peers, &error);
        is_counting = false;
        if (status == STATUS_OK) {
            bool closed = false;
            cr_assert_lt(allocation_count, failing_allocation);
            peers_close(peers, set_closed, &closed);
            (void)uv_run(&loop, UV_RUN_DEFAULT);
            cr_assert(closed);
            peers_destroy(peers);
            break;
        }
        cr_assert_eq(status, STATUS_NO_MEMORY);
        cr_assert_not_null(strstr(error.text, "out of memory"), "%s", error.text);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        failures++;
    }
    cr_assert_geq(failures, 4);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

/* One message of 100 000 bytes from a to b, sent again when its lane was lost under way. */
static void carry(struct rig_node *a, struct rig_node *b)
{
    static uint8_t bytes[100000];
    uint32_t before = b->message_count, sent_in = 0;
    uint64_t until = uv_hrtime() + RIG_WAIT_MS * 1000000ull;
    while (b->message_count == before) {
        cr_assert_lt(uv_hrtime(), until, "allocation %llu", (unsigned long long)failing_allocation);
        uint32_t session = a->up_count[b->id][TRANSPORT_BULK];
        if (rig_is_up(a, b->id, TRANSPORT_BULK) && session != sent_in &&
            rig_send(a, b->id, TRANSPORT_BULK, bytes, sizeof bytes) == STATUS_OK)
            sent_in = session;
        rig_pump(&rig);
    }
    cr_assert_eq(b->messages[before].size, sizeof bytes);
}

Test(peers_memory, a_failed_allocation_costs_a_connection_at_most)
{
    struct rig_node *nodes[2] = {rig_node(&rig, &(struct rig_node_options){.id = 1}),
                                 rig_node(&rig, &(struct rig_node_options){.id = 2})};
    for (int i = 0; i < 2; i++) {
        nodes[i]->message_capacity = 4096;
        nodes[i]->messages = calloc(4096, sizeof nodes[i]->messages[0]);
        cr_assert_not_null(nodes[i]->messages);
    }
    for (failing_allocation = 1; failing_allocation < 1000; failing_allocation++) {
        allocation_count = 0;
        is_counting = true;
        rig_start_all(&rig);
        rig_wait(&rig, rig_all_up(nodes[0], nodes[1]));
        carry(nodes[0], nodes[1]);
        carry(nodes[1], nodes[0]);
        is_counting = false;
        rig_stop(nodes[0]);
        rig_stop(nodes[1]);
        for (int i = 0; i < 20; i++)
            rig_pump(&rig);
        nodes[0]->events[0] = nodes[1]->events[0] = '\0';
        if (allocation_count < failing_allocation)
            break;
    }
    cr_assert_gt(failing_allocation, 20);
    cr_assert_lt(failing_allocation, 1000);
}
