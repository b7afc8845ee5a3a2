/*
 * Hellos and refusals out of any bytes: what is understood prints as the same bytes again, the
 * judge answers everything with a number and words, and a refusal's words are printable whatever
 * came.
 */
#include "replication/message.h"
#include "replication/peers/peers_hello.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hello(const uint8_t *data, size_t size, uint8_t choice)
{
    struct peers_hello hello;
    struct net_error error = {.text = ""};
    enum status status = peers_hello_decode(data, size, &hello, &error);
    if (status == STATUS_INVALID) {
        if (!error.text[0])
            abort();
        return;
    }
    if (status == STATUS_OK) {
        uint8_t again[PEERS_HELLO_SIZE];
        peers_hello_encode(&hello, again);
        if (size != sizeof again || memcmp(again, data, size) != 0)
            abort();
    } else if (hello.version == MESSAGE_PROTOCOL_VERSION) {
        abort();
    }
    struct transport_self self = {.node_id = choice & 7, .cluster_epoch = 1};
    struct member member = {.node_id = hello.node_id, .kind = hello.kind};
    memcpy(self.cluster_id, hello.cluster_id, sizeof self.cluster_id);
    memcpy(member.incarnation, hello.incarnation, sizeof member.incarnation);
    struct peers_expectation expectation = {
        .self = &self,
        .certificate_node = choice & 8 ? hello.node_id : 2,
        .member = choice & 16 ? &member : NULL,
        .process = choice & 64 ? hello.process : 0,
    };
    struct net_error words = {.text = ""};
    enum peers_refusal refusal = peers_hello_judge(&hello, &expectation, &words);
    if (refusal >= PEERS_REFUSAL_END || (refusal != PEERS_ACCEPTED && !words.text[0]))
        abort();
    if (refusal == PEERS_ACCEPTED &&
        (hello.version != MESSAGE_PROTOCOL_VERSION || hello.to != self.node_id ||
         hello.node_id != expectation.certificate_node || hello.cluster_epoch != 1))
        abort();
}

static void check_refusal(const uint8_t *data, size_t size)
{
    uint32_t refusal;
    char text[PEERS_REFUSAL_TEXT_SIZE];
    memset(text, 0x7f, sizeof text);
    if (peers_refusal_decode(data, size, &refusal, text) != STATUS_OK)
        return;
    size_t length = strnlen(text, sizeof text);
    if (length == sizeof text)
        abort();
    for (size_t i = 0; i < length; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            abort();
}

static void check_uri(const uint8_t *data, size_t size)
{
    char uri[64] = "prefix/";
    size_t part = size < sizeof uri - 8 ? size : sizeof uri - 8;
    memcpy(uri + 7, data, part);
    uint64_t node_id = peers_uri_node(uri, "prefix/");
    if (node_id > INT64_MAX || (node_id != 0 && (uri[7] < '1' || uri[7] > '9')))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    check_hello(data + 1, size - 1, data[0]);
    check_refusal(data + 1, size - 1);
    check_uri(data + 1, size - 1);
    return 0;
}
