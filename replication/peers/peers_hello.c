/*
 * The handshake's codec and its judge.
 *
 * The first 16 bytes of a hello (magic, version) and the whole refusal never change between
 * versions of the protocol, so that nodes of different versions can still tell each other why they
 * do not talk.
 *
 * The judge is a ladder; its order is the specification. First who it is (version, certificate,
 * cluster, epoch), then whom it takes us for, then what our member table says. The certificate
 * stands before everything that the peer merely claims: a member of the same cluster that lies
 * about its id is told so, and nothing else. Cluster and epoch stand before the table, since a
 * table of another cluster or an older epoch has no say.
 *
 * [safety] Two processes with one id and one incarnation (a copied directory) could vote twice in a
 * term. Each process draws a number at its start; while connections of one process live, another
 * with the same id is refused. Whoever died is noticed within a second and a half, so an honest
 * restart waits no longer than that, and mostly not at all.
 */
#include "replication/peers/peers_hello.h"

#include "replication/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HELLO_MAGIC "TSTKPEER"

struct hello_record {
    char magic[8];
    uint32_t version;
    uint32_t zero_0;
    uint8_t cluster_id[16];
    uint64_t cluster_epoch;
    uint64_t node_id;
    uint8_t incarnation[16];
    uint64_t process;
    uint64_t to;
    uint8_t kind;
    uint8_t lane;
    uint16_t address_size;
    uint32_t zero_1;
    char address[MEMBER_ADDRESS_SIZE_MAX];
};
_Static_assert(sizeof(struct hello_record) == PEERS_HELLO_SIZE, "format");
_Static_assert(offsetof(struct hello_record, cluster_id) == 16, "format");
_Static_assert(offsetof(struct hello_record, process) == 64, "format");
_Static_assert(offsetof(struct hello_record, address) == 88, "format");

struct refusal_record {
    uint32_t refusal;
    uint32_t text_size;
    char text[PEERS_REFUSAL_TEXT_SIZE];
};
_Static_assert(sizeof(struct refusal_record) == PEERS_REFUSAL_SIZE, "format");

const char *peers_refusal_text(enum peers_refusal refusal)
{
    static const char *const texts[PEERS_REFUSAL_END] = {
        [PEERS_ACCEPTED] = "accepted",
        [PEERS_REFUSED_GARBAGE] = "not our protocol",
        [PEERS_REFUSED_VERSION] = "another protocol version",
        [PEERS_REFUSED_TLS] = "TLS failed",
        [PEERS_REFUSED_CERTIFICATE] = "wrong certificate",
        [PEERS_REFUSED_CLUSTER] = "another cluster",
        [PEERS_REFUSED_OLDER_EPOCH] = "an older cluster epoch",
        [PEERS_REFUSED_NEWER_EPOCH] = "a newer cluster epoch",
        [PEERS_REFUSED_OWN_ID] = "our own id",
        [PEERS_REFUSED_WRONG_NODE] = "another node was meant",
        [PEERS_REFUSED_INCARNATION] = "another incarnation",
        [PEERS_REFUSED_KIND] = "another kind of node",
        [PEERS_REFUSED_TWO_PROCESSES] = "two processes with one id",
        [PEERS_REFUSED_BUSY] = "too many connections",
        [PEERS_REFUSED_MEMORY] = "out of memory",
        [PEERS_REFUSED_UNREACHABLE] = "unreachable",
    };
    const char *text = (unsigned)refusal < PEERS_REFUSAL_END ? texts[refusal] : NULL;
    return text ? text : "an unknown reason";
}

void peers_hello_encode(const struct peers_hello *hello, uint8_t out[PEERS_HELLO_SIZE])
{
    struct hello_record record;
    memset(&record, 0, sizeof record);
    memcpy(record.magic, HELLO_MAGIC, sizeof record.magic);
    record.version = hello->version;
    memcpy(record.cluster_id, hello->cluster_id, sizeof record.cluster_id);
    record.cluster_epoch = hello->cluster_epoch;
    record.node_id = hello->node_id;
    memcpy(record.incarnation, hello->incarnation, sizeof record.incarnation);
    record.process = hello->process;
    record.to = hello->to;
    record.kind = (uint8_t)hello->kind;
    record.lane = (uint8_t)hello->lane;
    size_t address_size = strnlen(hello->address, MEMBER_ADDRESS_SIZE_MAX);
    record.address_size = (uint16_t)address_size;
    memcpy(record.address, hello->address, address_size);
    memcpy(out, &record, sizeof record);
}

static bool is_id(uint64_t node_id)
{
    return node_id >= 1 && node_id <= INT64_MAX;
}

/* Printable ASCII without spaces, zeros behind it. */
static bool is_address(const struct hello_record *record)
{
    if (record->address_size == 0 || record->address_size > MEMBER_ADDRESS_SIZE_MAX)
        return false;
    for (size_t i = 0; i < MEMBER_ADDRESS_SIZE_MAX; i++) {
        bool is_inside = i < record->address_size;
        if (is_inside ? record->address[i] < 0x21 || record->address[i] > 0x7e
                      : record->address[i] != 0)
            return false;
    }
    return true;
}

enum status peers_hello_decode(const uint8_t *bytes, size_t size, struct peers_hello *out,
                               struct net_error *out_error)
{
    struct hello_record record;
    memset(&record, 0, sizeof record);
    memcpy(&record, bytes, size < sizeof record ? size : sizeof record);
    if (size < offsetof(struct hello_record, cluster_id) ||
        memcmp(record.magic, HELLO_MAGIC, sizeof record.magic) != 0) {
        net_error_set(out_error, "a greeting of %zu bytes that is not a peer's hello", size);
        return STATUS_INVALID;
    }
    if (record.version != MESSAGE_PROTOCOL_VERSION) {
        memset(out, 0, sizeof *out);
        out->version = record.version;
        net_error_set(out_error, "version %u of the peers' protocol", record.version);
        return STATUS_VERSION;
    }
    if (size != sizeof record || record.zero_0 != 0 || record.zero_1 != 0 ||
        !is_id(record.node_id) || !is_id(record.to) || record.process == 0 ||
        record.kind > MEMBER_WITNESS || record.lane >= TRANSPORT_LANE_COUNT ||
        !is_address(&record)) {
        net_error_set(out_error, "a hello of %zu bytes with a field out of its range", size);
        return STATUS_INVALID;
    }
    memset(out, 0, sizeof *out);
    out->version = record.version;
    memcpy(out->cluster_id, record.cluster_id, sizeof out->cluster_id);
    out->cluster_epoch = record.cluster_epoch;
    out->node_id = record.node_id;
    memcpy(out->incarnation, record.incarnation, sizeof out->incarnation);
    out->process = record.process;
    out->to = record.to;
    out->kind = (enum member_kind)record.kind;
    out->lane = (enum transport_lane)record.lane;
    memcpy(out->address, record.address, record.address_size);
    return STATUS_OK;
}

void peers_refusal_encode(enum peers_refusal refusal, const char *text,
                          uint8_t out[PEERS_REFUSAL_SIZE])
{
    struct refusal_record record;
    memset(&record, 0, sizeof record);
    size_t size = strnlen(text, sizeof record.text - 1);
    record.refusal = (uint32_t)refusal;
    record.text_size = (uint32_t)size;
    memcpy(record.text, text, size);
    memcpy(out, &record, sizeof record);
}

enum status peers_refusal_decode(const uint8_t *bytes, size_t size, uint32_t *out_refusal,
                                 char out_text[PEERS_REFUSAL_TEXT_SIZE])
{
    struct refusal_record record;
    if (size != sizeof record)
        return STATUS_INVALID;
    memcpy(&record, bytes, sizeof record);
    size_t text_size = record.text_size < sizeof record.text ? record.text_size : 0;
    for (size_t i = 0; i < text_size; i++)
        out_text[i] = record.text[i] >= 0x20 && record.text[i] <= 0x7e ? record.text[i] : '?';
    out_text[text_size] = '\0';
    *out_refusal = record.refusal;
    return STATUS_OK;
}

uint64_t peers_uri_node(const char *uri, const char *prefix)
{
    size_t prefix_size = strlen(prefix);
    if (strncmp(uri, prefix, prefix_size) != 0)
        return 0;
    const char *digits = uri + prefix_size;
    uint64_t node_id = 0;
    for (const char *digit = digits; *digit; digit++) {
        uint64_t value = (uint64_t)(*digit - '0'); /* huge below '0' */
        if (value > 9 || node_id > (INT64_MAX - value) / 10)
            return 0;
        node_id = node_id * 10 + value;
    }
    /* "007" and "7" would be two names of one node. */
    return digits[0] != '0' ? node_id : 0;
}

/* ---- the judge ---- */

struct hex {
    char text[33];
};

static struct hex hex(const uint8_t bytes[16])
{
    struct hex hex;
    for (int i = 0; i < 16; i++)
        (void)snprintf(hex.text + 2 * i, 3, "%02x", bytes[i]);
    return hex;
}

static enum peers_refusal judge_identity(const struct peers_hello *hello,
                                         const struct peers_expectation *e, struct net_error *text)
{
    const struct transport_self *self = e->self;
    if (hello->version != MESSAGE_PROTOCOL_VERSION) {
        net_error_set(text,
                      "node %" PRIu64 " speaks version %u of the peers' protocol, node %" PRIu64
                      " version %u: upgrade the older one",
                      e->certificate_node, hello->version, self->node_id, MESSAGE_PROTOCOL_VERSION);
        return PEERS_REFUSED_VERSION;
    }
    if (hello->node_id != e->certificate_node) {
        net_error_set(text,
                      "says it is node %" PRIu64 ", its certificate is of node %" PRIu64
                      ": give each node its own certificate",
                      hello->node_id, e->certificate_node);
        return PEERS_REFUSED_CERTIFICATE;
    }
    if (memcmp(hello->cluster_id, self->cluster_id, sizeof self->cluster_id) != 0) {
        net_error_set(text,
                      "node %" PRIu64 " belongs to cluster %s, node %" PRIu64
                      " to cluster %s: check addresses and directories",
                      hello->node_id, hex(hello->cluster_id).text, self->node_id,
                      hex(self->cluster_id).text);
        return PEERS_REFUSED_CLUSTER;
    }
    if (hello->cluster_epoch != self->cluster_epoch) {
        net_error_set(text,
                      "node %" PRIu64 " belongs to cluster epoch %" PRIu64 ", node %" PRIu64
                      " to epoch %" PRIu64
                      ": the older one was left behind by a recovery and has to be rebuilt",
                      hello->node_id, hello->cluster_epoch, self->node_id, self->cluster_epoch);
        return hello->cluster_epoch < self->cluster_epoch ? PEERS_REFUSED_OLDER_EPOCH
                                                          : PEERS_REFUSED_NEWER_EPOCH;
    }
    return PEERS_ACCEPTED;
}

static enum peers_refusal judge_target(const struct peers_hello *hello,
                                       const struct peers_expectation *e, struct net_error *text)
{
    const struct transport_self *self = e->self;
    if (hello->node_id == self->node_id) {
        net_error_set(text,
                      "two nodes say they are node %" PRIu64
                      " (incarnations %s and %s): stop one of them, ids are never shared",
                      self->node_id, hex(hello->incarnation).text, hex(self->incarnation).text);
        return PEERS_REFUSED_OWN_ID;
    }
    if (hello->to != self->node_id) {
        net_error_set(text,
                      "node %" PRIu64 " wanted node %" PRIu64 " and reached node %" PRIu64
                      ": a member's address is wrong",
                      hello->node_id, hello->to, self->node_id);
        return PEERS_REFUSED_WRONG_NODE;
    }
    return PEERS_ACCEPTED;
}

static enum peers_refusal judge_member(const struct peers_hello *hello,
                                       const struct peers_expectation *e, struct net_error *text)
{
    const struct member *member = e->member;
    if (member &&
        memcmp(hello->incarnation, member->incarnation, sizeof member->incarnation) != 0) {
        net_error_set(text,
                      "node %" PRIu64 " is incarnation %s, the member table of node %" PRIu64
                      " has %s: a node that lost its disk comes back under a new id "
                      "(`tally member replace`)",
                      hello->node_id, hex(hello->incarnation).text, e->self->node_id,
                      hex(member->incarnation).text);
        return PEERS_REFUSED_INCARNATION;
    }
    if (member && hello->kind != member->kind) {
        net_error_set(text,
                      "node %" PRIu64 " is a %s node, the member table of node %" PRIu64
                      " says %s: remove it and add it again",
                      hello->node_id, hello->kind == MEMBER_WITNESS ? "witness" : "data",
                      e->self->node_id, member->kind == MEMBER_WITNESS ? "witness" : "data");
        return PEERS_REFUSED_KIND;
    }
    if (e->process != 0 && e->process != hello->process) {
        net_error_set(text,
                      "another process with the id of node %" PRIu64
                      " is connected to node %" PRIu64
                      ": stop one of them; if it has just died, this passes within 2 s",
                      hello->node_id, e->self->node_id);
        return PEERS_REFUSED_TWO_PROCESSES;
    }
    return PEERS_ACCEPTED;
}

enum peers_refusal peers_hello_judge(const struct peers_hello *hello,
                                     const struct peers_expectation *expectation,
                                     struct net_error *out_text)
{
    enum peers_refusal refusal = judge_identity(hello, expectation, out_text);
    if (refusal == PEERS_ACCEPTED)
        refusal = judge_target(hello, expectation, out_text);
    if (refusal == PEERS_ACCEPTED)
        refusal = judge_member(hello, expectation, out_text);
    return refusal;
}
