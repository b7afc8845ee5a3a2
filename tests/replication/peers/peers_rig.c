/* The rig: loops in turn, notes of what the sinks saw, and raw ends. */
#include "peers_rig.h"

#include "replication/message.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "spiffe://tallystick/node/"

const char *rig_file(const struct rig *rig, const char *name)
{
    static char paths[8][160];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", rig->directory, name);
    return path;
}

void rig_init(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    (void)signal(SIGPIPE, SIG_IGN); /* as every program with sockets of libuv does */
    strcpy(rig->directory, "/tmp/tally-peers-XXXXXX");
    cr_assert_not_null(mkdtemp(rig->directory));
    rig->pki = pki_create(rig->directory, "ca");
    for (int i = 1; i <= RIG_NODES_MAX; i++) {
        char file[16], names[64];
        (void)snprintf(file, sizeof file, "n%d", i);
        (void)snprintf(names, sizeof names, "URI:" PREFIX "%d", i);
        pki_issue(rig->pki, &(struct pki_certificate){.file = file, .alternative_names = names});
    }
    pki_issue(rig->pki,
              &(struct pki_certificate){.file = "channel",
                                        .alternative_names = "URI:spiffe://tallystick/channel/1"});
    struct pki *other = pki_create(rig->directory, "other");
    pki_issue(other, &(struct pki_certificate){.file = "n2_of_other",
                                               .alternative_names = "URI:" PREFIX "2"});
    pki_destroy(other);
    cr_assert_eq(uv_loop_init(&rig->loop), 0);
    cr_assert_eq(net_loop_init(&rig->net, &rig->loop), STATUS_OK);
}

/* ---- nodes ---- */

static void event_cb(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct rig_node *node = context;
    size_t used = strlen(node->events);
    (void)snprintf(node->events + used, sizeof node->events - used, "%s|%llu|%llu|%s\n", name,
                   (unsigned long long)a, (unsigned long long)b, text);
}

static void message_cb(void *context, uint64_t from, enum transport_lane lane, const void *bytes,
                       size_t size)
{
    struct rig_node *node = context;
    cr_assert(!node->inside, "a message inside of a call");
    cr_assert_eq((uintptr_t)bytes % 8, 0);
    cr_assert(rig_is_up(node, from, lane), "a message before the lane was reported up");
    if (node->message_count == node->message_capacity) {
        node->message_capacity = node->message_capacity ? node->message_capacity * 2 : 64;
        node->messages = realloc(node->messages, node->message_capacity * sizeof node->messages[0]);
        cr_assert_not_null(node->messages);
    }
    struct rig_message *message = &node->messages[node->message_count++];
    *message = (struct rig_message){.from = from, .lane = lane, .size = size};
    memcpy(&message->first, bytes, size < 8 ? size : 8);
    for (size_t i = 0; i < size; i++)
        message->sum += ((const uint8_t *)bytes)[i];
    if (node->on_message)
        node->on_message(node, message);
}

static void link_cb(void *context, uint64_t peer, enum transport_lane lane, bool up)
{
    struct rig_node *node = context;
    cr_assert(!node->inside, "a link's change inside of a call");
    cr_assert_leq(peer, RIG_NODES_MAX);
    cr_assert_eq(rig_is_up(node, peer, lane), !up, "up and down come in turn");
    if (up)
        node->up_count[peer][lane]++;
    else
        node->down_count[peer][lane]++;
    if (up && node->on_up)
        node->on_up(node, peer, lane);
}

static void writable_cb(void *context, uint64_t peer, enum transport_lane lane)
{
    struct rig_node *node = context;
    cr_assert(!node->inside);
    cr_assert(rig_is_up(node, peer, lane));
    node->writable_count++;
}

static uint64_t clock_cb(void *context)
{
    const struct rig_node *node = context;
    return uv_hrtime() + node->ahead_ns;
}

struct rig_node *rig_node(struct rig *rig, const struct rig_node_options *options)
{
    struct rig_node *node = &rig->nodes[options->id];
    char names[4][40];
    cr_assert(!node->is_open);
    memset(node, 0, sizeof *node);
    node->rig = rig;
    node->id = options->id;
    cr_assert_eq(uv_loop_init(&node->loop), 0);
    char default_name[16];
    (void)snprintf(default_name, sizeof default_name, "n%llu", (unsigned long long)options->id);
    const char *certificate = options->certificate ? options->certificate : default_name;
    (void)snprintf(names[0], sizeof names[0], "%s.pem", certificate);
    (void)snprintf(names[1], sizeof names[1], "%s.key", certificate);
    (void)snprintf(names[2], sizeof names[2], "%s.pem", options->ca ? options->ca : "ca");
    (void)snprintf(names[3], sizeof names[3], "%s.pem", options->crl ? options->crl : "");
    struct peers_options peers_options = {
        .loop = &node->loop,
        .listen_host = "127.0.0.1",
        .listen_port = options->port,
        .advertised_address = options->advertised,
        .certificate_file = rig_file(rig, names[0]),
        .key_file = rig_file(rig, names[1]),
        .ca_file = rig_file(rig, names[2]),
        .crl_file = options->crl ? rig_file(rig, names[3]) : NULL,
        .event = event_cb,
        .event_context = node,
        .monotonic_ns = clock_cb,
        .clock_context = node,
    };
    struct net_error error = {.text = ""};
    cr_assert_eq(peers_create(&peers_options, &node->peers, &error), STATUS_OK, "%s", error.text);
    node->transport = peers_transport(node->peers);
    node->is_open = node->is_running = true;
    node->self =
        (struct transport_self){.node_id = options->id, .cluster_epoch = 1, .kind = MEMBER_DATA};
    memset(node->self.cluster_id, 0xc1, sizeof node->self.cluster_id);
    memset(node->self.incarnation, (int)options->id, sizeof node->self.incarnation);
    return node;
}

struct member rig_member(const struct rig_node *node)
{
    struct member member = {.node_id = node->id, .kind = node->self.kind, .site = "A"};
    memcpy(member.incarnation, node->self.incarnation, sizeof member.incarnation);
    (void)snprintf(member.address, sizeof member.address, "127.0.0.1:%u", peers_port(node->peers));
    return member;
}

void rig_start(struct rig_node *node)
{
    struct transport_sink sink = {
        .context = node, .message = message_cb, .link = link_cb, .writable = writable_cb};
    node->inside = true;
    cr_assert_eq(transport_start(node->transport, &node->self, &sink), STATUS_OK);
    node->inside = false;
}

void rig_members(struct rig_node *node, const struct member *members, uint32_t count)
{
    node->inside = true;
    transport_members(node->transport, members, count);
    node->inside = false;
}

void rig_start_all(struct rig *rig)
{
    struct member members[RIG_NODES_MAX];
    uint32_t count = 0;
    for (int i = 1; i <= RIG_NODES_MAX; i++)
        if (rig->nodes[i].is_open)
            members[count++] = rig_member(&rig->nodes[i]);
    for (int i = 1; i <= RIG_NODES_MAX; i++) {
        if (!rig->nodes[i].is_open)
            continue;
        rig_start(&rig->nodes[i]);
        rig_members(&rig->nodes[i], members, count);
    }
}

void rig_stop(struct rig_node *node)
{
    node->inside = true;
    transport_stop(node->transport);
    node->inside = false;
    /* Nothing is told after a stop. */
    for (int i = 1; i <= RIG_NODES_MAX; i++)
        for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
            node->down_count[i][l] = node->up_count[i][l];
}

static void closed_cb(void *context)
{
    struct rig_node *node = context;
    node->is_closed = true;
}

void rig_close(struct rig_node *node)
{
    if (!node->is_open)
        return;
    node->inside = true;
    peers_close(node->peers, closed_cb, node);
    cr_assert(!node->is_closed, "called back inside");
    node->inside = false;
    node->is_running = true;
    rig_wait(node->rig, node->is_closed);
    peers_destroy(node->peers);
    node->is_open = node->is_running = false;
    cr_assert_eq(uv_loop_close(&node->loop), 0, "the loop has handles left");
    free(node->messages);
    node->messages = NULL;
}

enum status rig_send(struct rig_node *node, uint64_t to, enum transport_lane lane,
                     const void *bytes, size_t size)
{
    struct transport_part part = {bytes, size};
    bool was_inside = node->inside;
    node->inside = true;
    enum status status = transport_send(node->transport, to, lane, &part, 1);
    node->inside = was_inside;
    if (status == STATUS_OK)
        cr_assert(rig_is_up(node, to, lane), "sent before the lane was reported up");
    return status;
}

enum status rig_send_number(struct rig_node *node, uint64_t to, enum transport_lane lane,
                            uint64_t number)
{
    return rig_send(node, to, lane, &number, sizeof number);
}

bool rig_is_up(const struct rig_node *node, uint64_t peer, enum transport_lane lane)
{
    return node->up_count[peer][lane] > node->down_count[peer][lane];
}

bool rig_all_up(const struct rig_node *a, const struct rig_node *b)
{
    for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
        if (!rig_is_up(a, b->id, (enum transport_lane)l) ||
            !rig_is_up(b, a->id, (enum transport_lane)l))
            return false;
    return true;
}

bool rig_has_event(const struct rig_node *node, const char *event, const char *words)
{
    for (const char *line = node->events; *line;) {
        const char *end = strchr(line, '\n');
        const char *found = strstr(line, words);
        if (strncmp(line, event, strlen(event)) == 0 && found && found < end)
            return true;
        line = end + 1;
    }
    return false;
}

void rig_expect_event(struct rig_node *node, const char *name, uint64_t a, uint64_t b,
                      const char *words)
{
    char event[80];
    (void)snprintf(event, sizeof event, "%s|%llu|%llu|", name, (unsigned long long)a,
                   (unsigned long long)b);
    uint64_t until = uv_hrtime() + RIG_WAIT_MS * 1000000ull;
    while (!rig_has_event(node, event, words)) {
        cr_assert(uv_hrtime() < until, "node %llu: no event %s with \"%s\" among:\n%s",
                  (unsigned long long)node->id, event, words, node->events);
        rig_pump(node->rig);
    }
}

void rig_pump(struct rig *rig)
{
    for (int i = 1; i <= RIG_NODES_MAX; i++)
        if (rig->nodes[i].is_open && rig->nodes[i].is_running)
            (void)uv_run(&rig->nodes[i].loop, UV_RUN_NOWAIT);
    (void)uv_run(&rig->loop, UV_RUN_NOWAIT);
    usleep(200);
}

void rig_run_ms(struct rig *rig, uint64_t ms)
{
    uint64_t until = uv_hrtime() + ms * 1000000;
    while (uv_hrtime() < until)
        rig_pump(rig);
}

/* ---- raw ends ---- */

void rig_raw_certificate(struct rig *rig, const char *certificate)
{
    char files[2][40];
    (void)snprintf(files[0], sizeof files[0], "%s.pem", certificate);
    (void)snprintf(files[1], sizeof files[1], "%s.key", certificate);
    for (int side = 0; side < 2; side++) {
        struct tls_options options = {
            .side = (enum tls_side)side,
            .certificate_file = rig_file(rig, files[0]),
            .key_file = rig_file(rig, files[1]),
            .ca_file = rig_file(rig, "ca.pem"),
            .protocol = "tallystick-peer/1",
        };
        struct net_error error = {.text = ""};
        tls_context_destroy(rig->raw_tls[side]);
        rig->raw_tls[side] = NULL;
        cr_assert_eq(tls_context_create(&options, &rig->raw_tls[side], &error), STATUS_OK, "%s",
                     error.text);
    }
}

static struct rig_raw *raw_of(struct stream *stream)
{
    return (struct rig_raw *)((char *)stream - offsetof(struct rig_raw, stream));
}

static void raw_open(struct stream *stream)
{
    raw_of(stream)->is_open = true;
}

static void raw_data(struct stream *stream, const uint8_t *bytes, size_t size)
{
    struct rig_raw *raw = raw_of(stream);
    size_t room = sizeof raw->received - raw->received_size;
    size_t part = size < room ? size : room; /* tests look at the first frames */
    memcpy(raw->received + raw->received_size, bytes, part);
    raw->received_size += part;
}

static void raw_nothing(struct stream *stream)
{
    (void)stream;
}

static void raw_ended(struct stream *stream, enum status status, const char *why)
{
    struct rig_raw *raw = raw_of(stream);
    raw->is_ended = true;
    raw->end_status = status;
    (void)snprintf(raw->end_text, sizeof raw->end_text, "%s", why);
    stream_close(stream);
}

static void raw_closed(struct stream *stream)
{
    raw_of(stream)->is_closed = true;
}

static const struct stream_handlers raw_handlers = {
    .open = raw_open,
    .data = raw_data,
    .read_done = raw_nothing,
    .writable = raw_nothing,
    .ended = raw_ended,
    .closed = raw_closed,
};

static struct rig_raw *raw_new(struct rig *rig)
{
    for (int i = 0; i < RIG_RAWS_MAX; i++) {
        struct rig_raw *raw = &rig->raws[i];
        if (raw->in_use && !raw->is_closed)
            continue;
        memset(raw, 0, sizeof *raw);
        raw->rig = rig;
        raw->in_use = true;
        return raw;
    }
    cr_assert(false, "no raw end is left");
    return NULL;
}

struct rig_raw *rig_raw_dial(struct rig *rig, uint16_t port)
{
    struct sockaddr_in address;
    struct net_error error = {.text = ""};
    struct rig_raw *raw = raw_new(rig);
    cr_assert_eq(uv_ip4_addr("127.0.0.1", port, &address), 0);
    struct stream_connect_options options = {.address = (const struct sockaddr *)&address};
    cr_assert_eq(stream_connect(&raw->stream, &rig->net, &options, rig->raw_tls[TLS_CLIENT],
                                &raw_handlers, &error),
                 STATUS_OK, "%s", error.text);
    return raw;
}

static void raw_accept_cb(uv_stream_t *listener, int result)
{
    struct rig *rig = listener->data;
    cr_assert_eq(result, 0);
    struct rig_raw *raw = raw_new(rig);
    cr_assert_eq(
        stream_accept(&raw->stream, &rig->net, listener, rig->raw_tls[TLS_SERVER], &raw_handlers),
        STATUS_OK);
    rig->raw_accepted = raw;
}

uint16_t rig_raw_listen(struct rig *rig)
{
    struct sockaddr_in address;
    int size = sizeof address;
    cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    cr_assert_eq(uv_tcp_init(&rig->loop, &rig->raw_listener), 0);
    rig->raw_listener.data = rig;
    rig->has_raw_listener = true;
    cr_assert_eq(uv_tcp_bind(&rig->raw_listener, (const struct sockaddr *)&address, 0), 0);
    cr_assert_eq(uv_listen((uv_stream_t *)&rig->raw_listener, 16, raw_accept_cb), 0);
    cr_assert_eq(uv_tcp_getsockname(&rig->raw_listener, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

void rig_raw_write(struct rig_raw *raw, const void *bytes, size_t size)
{
    cr_assert_eq(stream_write(&raw->stream, bytes, size), STATUS_OK);
    cr_assert_eq(stream_flush(&raw->stream), STATUS_OK);
}

void rig_raw_frame(struct rig_raw *raw, enum peers_frame_kind kind, const void *bytes, size_t size)
{
    uint8_t header[PEERS_FRAME_HEADER_SIZE];
    peers_frame_header(header, kind, (uint32_t)size);
    rig_raw_write(raw, header, sizeof header);
    if (size > 0)
        rig_raw_write(raw, bytes, size);
}

void rig_raw_close(struct rig_raw *raw)
{
    stream_close(&raw->stream);
    rig_wait(raw->rig, raw->is_closed);
}

struct peers_hello rig_hello(const struct transport_self *as, uint64_t to, enum transport_lane lane)
{
    struct peers_hello hello = {
        .version = MESSAGE_PROTOCOL_VERSION,
        .cluster_epoch = as->cluster_epoch,
        .node_id = as->node_id,
        .process = 77,
        .to = to,
        .kind = as->kind,
        .lane = lane,
        .address = "127.0.0.1:9",
    };
    memcpy(hello.cluster_id, as->cluster_id, sizeof hello.cluster_id);
    memcpy(hello.incarnation, as->incarnation, sizeof hello.incarnation);
    return hello;
}

void rig_raw_hello(struct rig_raw *raw, enum peers_frame_kind kind, const struct peers_hello *hello)
{
    uint8_t record[PEERS_HELLO_SIZE];
    peers_hello_encode(hello, record);
    rig_raw_frame(raw, kind, record, sizeof record);
}

static bool find_frame(const struct rig_raw *raw, enum peers_frame_kind kind,
                       const uint8_t **out_body, uint32_t *out_size)
{
    for (size_t at = 0; at + PEERS_FRAME_HEADER_SIZE <= raw->received_size;) {
        uint32_t size;
        uint16_t found;
        memcpy(&size, raw->received + at, sizeof size);
        memcpy(&found, raw->received + at + 4, sizeof found);
        at += PEERS_FRAME_HEADER_SIZE;
        if (found == kind && at + size <= raw->received_size) {
            *out_body = raw->received + at;
            *out_size = size;
            return true;
        }
        at += size;
    }
    return false;
}

bool rig_raw_has_frame(const struct rig_raw *raw, enum peers_frame_kind kind)
{
    const uint8_t *body;
    uint32_t size;
    return find_frame(raw, kind, &body, &size);
}

uint32_t rig_raw_refusal(const struct rig_raw *raw, char out_text[PEERS_REFUSAL_TEXT_SIZE])
{
    const uint8_t *body;
    uint32_t size, refusal = PEERS_ACCEPTED;
    out_text[0] = '\0';
    if (find_frame(raw, PEERS_FRAME_REFUSAL, &body, &size))
        cr_assert_eq(peers_refusal_decode(body, size, &refusal, out_text), STATUS_OK);
    return refusal;
}

/* ---- the end ---- */

static void raw_loop_stopped(void *context)
{
    *(bool *)context = true;
}

void rig_deinit(struct rig *rig)
{
    for (int i = 1; i <= RIG_NODES_MAX; i++)
        rig_close(&rig->nodes[i]);
    for (int i = 0; i < RIG_RAWS_MAX; i++) {
        struct rig_raw *raw = &rig->raws[i];
        if (raw->in_use && !raw->is_closed)
            rig_raw_close(raw);
    }
    if (rig->has_raw_listener)
        uv_close((uv_handle_t *)&rig->raw_listener, NULL);
    bool stopped = false;
    net_loop_stop(&rig->net, raw_loop_stopped, &stopped);
    rig_wait(rig, stopped);
    cr_assert_eq(uv_loop_close(&rig->loop), 0);
    tls_context_destroy(rig->raw_tls[0]);
    tls_context_destroy(rig->raw_tls[1]);
    pki_destroy(rig->pki);
    char command[100];
    (void)snprintf(command, sizeof command, "rm -r %s", rig->directory);
    cr_assert_eq(system(command), 0);
}
