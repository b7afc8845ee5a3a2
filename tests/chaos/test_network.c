/* The virtual network keeps transport.h's promises, and breaks what a real one may break. */
#include "chaos/sim/network_weather.h"

#include <criterion/criterion.h>
#include <string.h>

struct end {
    struct network *network;
    uint32_t host;
    uint64_t received[64];
    uint32_t received_count;
    uint64_t last_ns;
    bool up[HOSTS_MAX];
    uint32_t ups, downs, writables;
};

struct rig {
    struct world world;
    struct network network;
    struct end ends[3];
    struct member members[3];
    uint64_t ahead_ns;
};

static void on_message(void *context, uint64_t from, enum transport_lane lane, const void *bytes,
                       size_t size)
{
    struct end *end = context;
    (void)from, (void)lane;
    cr_assert_eq((uintptr_t)bytes % 8, 0);
    cr_assert_geq(size, 8);
    cr_assert_lt(end->received_count, 64);
    memcpy(&end->received[end->received_count++], bytes, 8);
    end->last_ns = end->network->world->now_ns;
}

static void on_link(void *context, uint64_t peer, enum transport_lane lane, bool up)
{
    struct end *end = context;
    if (lane != TRANSPORT_RAFT)
        return;
    cr_assert_neq(end->up[peer - 1], up, "told once");
    end->up[peer - 1] = up;
    end->ups += up;
    end->downs += !up;
}

static void on_left(void *context)
{
    (void)context;
}

static void on_writable(void *context, uint64_t peer, enum transport_lane lane)
{
    struct end *end = context;
    (void)peer, (void)lane;
    end->writables++;
}

static struct transport *transport_of(struct rig *rig, uint32_t host)
{
    return &rig->network.hosts[host].transport;
}

static void start(struct rig *rig, uint32_t host)
{
    struct transport_self self = {.node_id = host + 1, .cluster_epoch = 1};
    memcpy(self.incarnation, rig->members[host].incarnation, 16);
    const struct transport_sink sink = {.context = &rig->ends[host],
                                        .message = on_message,
                                        .link = on_link,
                                        .writable = on_writable};
    cr_assert_eq(transport_start(transport_of(rig, host), &self, &sink), STATUS_OK);
    transport_members(transport_of(rig, host), rig->members, 3);
}

static void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    world_init(&rig->world, 5, false, 0);
    network_init(&rig->network, &rig->world, 3);
    for (uint32_t i = 0; i < 3; i++) {
        rig->network.hosts[i].ahead_ns = &rig->ahead_ns;
        rig->network.hosts[i].left = on_left;
        rig->ends[i] = (struct end){.network = &rig->network, .host = i};
        rig->members[i] = (struct member){.node_id = i + 1, .incarnation = {(uint8_t)(i + 7)}};
        network_address(i, rig->members[i].address);
        for (uint32_t j = 0; j < 3; j++)
            rig->network.latency_ns[i][j] = NS_PER_MS;
    }
    for (uint32_t i = 0; i < 3; i++)
        start(rig, i);
}

static void rig_deinit(struct rig *rig)
{
    network_deinit(&rig->network);
    world_deinit(&rig->world);
}

static void run_ms(struct rig *rig, uint64_t ms)
{
    cr_assert(world_run_until(&rig->world, rig->world.now_ns + ms * NS_PER_MS));
}

static enum status say(struct rig *rig, uint32_t from, uint32_t to, uint64_t word)
{
    const struct transport_part part = {&word, sizeof word};
    return transport_send(transport_of(rig, from), to + 1, TRANSPORT_RAFT, &part, 1);
}

/* All pairs connect by themselves, and what is sent arrives in order. */
Test(network, connects_and_keeps_the_order)
{
    struct rig rig;
    rig_init(&rig);
    cr_assert_eq(say(&rig, 0, 1, 1), STATUS_UNAVAILABLE);
    run_ms(&rig, 300);
    for (uint64_t word = 1; word <= 50; word++)
        cr_assert_eq(say(&rig, 0, 1, word), STATUS_OK);
    cr_assert_eq(rig.ends[1].received_count, 0, "never inside a call");
    run_ms(&rig, 50);
    cr_assert_eq(rig.ends[1].received_count, 50);
    for (uint64_t i = 0; i < 50; i++)
        cr_assert_eq(rig.ends[1].received[i], i + 1);
    rig_deinit(&rig);
}

/* A cut of 300 ms delays; one of 5 s breaks the lane at both ends within about 1.5 s, what was
 * under way is lost, and after it has healed the lane comes up again. */
Test(network, a_short_cut_delays_and_a_long_one_breaks)
{
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_set_cut(&rig.network, 0, 1, true);
    cr_assert_eq(say(&rig, 0, 1, 1), STATUS_OK);
    cr_assert_eq(say(&rig, 1, 0, 9), STATUS_OK);
    run_ms(&rig, 300);
    cr_assert_eq(rig.ends[1].received_count, 0);
    cr_assert_eq(rig.ends[0].received_count, 1, "the other direction is open");
    network_set_cut(&rig.network, 0, 1, false);
    run_ms(&rig, 400);
    cr_assert_eq(rig.ends[1].received_count, 1);
    cr_assert_eq(rig.ends[0].downs, 0);

    network_set_cut(&rig.network, 0, 1, true);
    cr_assert_eq(say(&rig, 0, 1, 2), STATUS_OK);
    run_ms(&rig, 1600);
    cr_assert_not(rig.ends[0].up[1]);
    cr_assert_not(rig.ends[1].up[0]);
    cr_assert_eq(say(&rig, 0, 1, 3), STATUS_UNAVAILABLE);
    run_ms(&rig, 3400);
    network_set_cut(&rig.network, 0, 1, false);
    run_ms(&rig, 1500);
    cr_assert(rig.ends[0].up[1]);
    cr_assert(rig.ends[1].up[0]);
    cr_assert_eq(rig.ends[1].received_count, 1, "what was under way is lost, not late");
    cr_assert_eq(rig.ends[0].up[2], true);
    rig_deinit(&rig);
}

/* A process dies: its peers hear of it at once. A machine dies: they hear nothing, and their pings
 * do the work. Both come back. */
Test(network, a_dead_process_resets_and_a_dead_machine_is_silent)
{
    for (int silent = 0; silent < 2; silent++) {
        struct rig rig;
        rig_init(&rig);
        run_ms(&rig, 300);
        network_host_down(&rig.network, 1, silent);
        rig.ends[1] = (struct end){.network = &rig.network, .host = 1};
        run_ms(&rig, 100);
        cr_assert_eq(rig.ends[0].up[1], silent != 0);
        run_ms(&rig, 1500);
        cr_assert_not(rig.ends[0].up[1]);
        network_host_powered(&rig.network, 1);
        start(&rig, 1);
        run_ms(&rig, 1500);
        cr_assert(rig.ends[0].up[1]);
        cr_assert(rig.ends[1].up[0]);
        rig_deinit(&rig);
    }
}

/* The queue has a bound; whoever was refused is told when half of it is free. */
Test(network, refuses_when_the_queue_is_full_and_says_when_it_is_not)
{
    static uint8_t large[1 << 20];
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    const struct transport_part part = {large, sizeof large};
    for (uint64_t i = 0; i < TRANSPORT_QUEUE_BYTES_MAX / sizeof large; i++)
        cr_assert_eq(transport_send(transport_of(&rig, 0), 2, TRANSPORT_RAFT, &part, 1), STATUS_OK);
    cr_assert_eq(transport_send(transport_of(&rig, 0), 2, TRANSPORT_RAFT, &part, 1), STATUS_BUSY);
    cr_assert_eq(transport_room(transport_of(&rig, 0), 2, TRANSPORT_RAFT), 0);
    run_ms(&rig, 1000);
    cr_assert_eq(rig.ends[0].writables, 1);
    cr_assert_eq(rig.ends[1].received_count, 8);
    rig_deinit(&rig);
}

/* Another incarnation under a known id is let in nowhere. */
Test(network, a_wiped_node_is_refused_under_its_old_id)
{
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_host_down(&rig.network, 1, false);
    rig.ends[1] = (struct end){.network = &rig.network, .host = 1};
    run_ms(&rig, 100);
    struct transport_self self = {.node_id = 2, .cluster_epoch = 1, .incarnation = {99}};
    const struct transport_sink sink = {
        .context = &rig.ends[1], .message = on_message, .link = on_link, .writable = on_writable};
    cr_assert_eq(transport_start(transport_of(&rig, 1), &self, &sink), STATUS_OK);
    transport_members(transport_of(&rig, 1), rig.members, 3);
    run_ms(&rig, 3000);
    cr_assert_not(rig.ends[0].up[1]);
    cr_assert_eq(rig.ends[1].ups, 0);
    cr_assert(rig.ends[0].up[2]);
    rig_deinit(&rig);
}

/* ---- weather ---- */

/* Packets are lost: what is sent comes later, all of it, once, in order, or the lane breaks. */
Test(network, lost_packets_are_late_and_in_order)
{
    const struct weather weather = {.loss_per_mille = 200};
    struct rig rig;
    uint64_t latest_ns = 0;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_weather_set(&rig.network, 0, 1, &weather);
    for (uint64_t word = 1; word <= 40 && rig.ends[0].downs == 0; word++) {
        const uint64_t sent_ns = rig.world.now_ns;
        const uint32_t before = rig.ends[1].received_count;
        cr_assert_eq(say(&rig, 0, 1, word), STATUS_OK);
        run_ms(&rig, 1600);
        if (rig.ends[1].received_count > before && rig.ends[1].last_ns - sent_ns > latest_ns)
            latest_ns = rig.ends[1].last_ns - sent_ns;
    }
    cr_assert_gt(rig.ends[1].received_count, 10);
    for (uint64_t i = 0; i < rig.ends[1].received_count; i++)
        cr_assert_eq(rig.ends[1].received[i], i + 1);
    cr_assert_geq(latest_ns, 200 * NS_PER_MS, "one was sent again by its timer");
    network_weather_clear(&rig.network, 0, 1);
    run_ms(&rig, 3000);
    cr_assert(rig.ends[0].up[1]);
    rig_deinit(&rig);
}

/* With every third packet lost lanes break by their pings, and come up again. */
Test(network, heavy_loss_breaks_lanes)
{
    const struct weather weather = {.loss_per_mille = 300};
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_weather_set(&rig.network, 0, 1, &weather);
    for (uint64_t i = 0; i < 400 && rig.ends[0].downs == 0; i++) {
        rig.ends[1].received_count = 0;
        (void)say(&rig, 0, 1, i + 1); /* refused while it is down */
        run_ms(&rig, 100);
    }
    cr_assert_geq(rig.ends[0].downs, 1);
    run_ms(&rig, 10000);
    cr_assert(rig.ends[0].up[1]);
    rig_deinit(&rig);
}

static enum status call(struct rig *rig, uint32_t from, uint32_t to, uint64_t word)
{
    const struct transport_part part = {&word, sizeof word};
    return transport_send(transport_of(rig, from), to + 1, TRANSPORT_CALLS, &part, 1);
}

/* In disorder one lane overtakes the other, and each keeps its own order. */
Test(network, lanes_overtake_each_other)
{
    const struct weather weather = {.disorder_ns = 300 * NS_PER_MS};
    struct rig rig;
    uint64_t last[2] = {0, 0};
    unsigned overtaken = 0;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_weather_set(&rig.network, 0, 1, &weather);
    for (uint64_t word = 0; word < 60; word++) {
        cr_assert_eq(word % 2 == 0 ? say(&rig, 0, 1, word + 1) : call(&rig, 0, 1, word + 1),
                     STATUS_OK);
        run_ms(&rig, 10);
    }
    run_ms(&rig, 1000);
    cr_assert_eq(rig.ends[1].received_count, 60);
    for (uint32_t i = 0; i < 60; i++) {
        const uint64_t word = rig.ends[1].received[i] - 1;
        cr_assert_geq(word + 1, last[word % 2]);
        last[word % 2] = word + 1;
        overtaken += i > 0 && word + 1 < rig.ends[1].received[i - 1];
    }
    cr_assert_gt(overtaken, 0);
    rig_deinit(&rig);
}

/* 100 KB take a second at 100 KB/s; when the line is fast again, what it had queued goes out. */
Test(network, a_slow_line_takes_its_time)
{
    static uint8_t large[100 << 10];
    const struct weather weather = {.ns_per_byte = 10000};
    const struct transport_part part = {large, sizeof large};
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_weather_set(&rig.network, 0, 1, &weather);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(transport_send(transport_of(&rig, 0), 2, TRANSPORT_RAFT, &part, 1), STATUS_OK);
    run_ms(&rig, 900);
    cr_assert_eq(rig.ends[1].received_count, 0);
    run_ms(&rig, 300);
    cr_assert_eq(rig.ends[1].received_count, 1);
    network_weather_clear(&rig.network, 0, 1);
    run_ms(&rig, 100);
    cr_assert_eq(rig.ends[1].received_count, 5);
    rig_deinit(&rig);
}

/* The sender takes the connection for broken, and what it had sent arrives nevertheless; then the
 * lane is up again at both ends. */
Test(network, a_connection_that_was_given_up_still_delivers)
{
    struct rig rig;
    rig_init(&rig);
    run_ms(&rig, 300);
    network_weather_arm(&rig.network, 0, 1, TRANSPORT_RAFT);
    cr_assert_eq(say(&rig, 0, 1, 1), STATUS_OK);
    run_ms(&rig, 1);
    cr_assert_eq(rig.ends[0].downs, 1, "the sender has given it up");
    cr_assert_eq(say(&rig, 0, 1, 2), STATUS_UNAVAILABLE);
    run_ms(&rig, 500);
    cr_assert_eq(rig.network.late_total, 1);
    cr_assert_eq(rig.ends[1].received_count, 1);
    cr_assert_eq(rig.ends[1].received[0], 1);
    cr_assert(rig.ends[0].up[1]);
    cr_assert(rig.ends[1].up[0]);
    cr_assert_eq(say(&rig, 0, 1, 3), STATUS_OK);
    run_ms(&rig, 50);
    cr_assert_eq(rig.ends[1].received_count, 2);
    rig_deinit(&rig);
}
