/*
 * What a peer tells unasked or is asked around operations: questions and answers about a site,
 * certificates on their way, and the leader's measurement of what a site lacks. The type in the
 * header chooses, as it does when messages are handed out, and the size in the header is right, for
 * that is made sure of before.
 *
 *   - what is understood prints as the same bytes again, and a report that was told is told on as
 *     it came;
 *   - a certificate replaces the one that is held only if it is of this cluster, from the node that
 *     it names and newer, whatever came.
 */
#include "fuzz.h"
#include "replication/message.h"
#include "replication/node/certificate.h"
#include "replication/node/rpo.h"
#include "replication/node/site_message.h"
#include "storage/hash.h"

static const struct identity identity = {
    .cluster_id = {0xc1, 0xc2}, .node_id = 1, .cluster_epoch = 3};

static void check_site(const uint8_t *bytes, size_t size)
{
    struct site_question question;
    struct site_answer answer;
    struct pause pause;
    if (site_question_decode(bytes, size, &question) == STATUS_OK) {
        const struct site_question again =
            site_question_make(question.sequence, question.window_ms);
        need(fuzz_same(&again, sizeof again, bytes, size), "a question has one encoding");
    }
    if (site_answer_decode(bytes, size, &answer, &pause) == STATUS_OK) {
        struct site_answer again = {.sequence = answer.sequence,
                                    .flags = answer.flags,
                                    .applied_index = answer.applied_index,
                                    .wall_ns = answer.wall_ns};
        need((answer.flags & ~(uint32_t)SITE_ANSWER_FLAGS_ALL) == 0, "known flags only");
        site_answer_seal(&again, &pause);
        need(fuzz_same(&again, sizeof again, bytes, size), "an answer has one encoding");
    }
}

static bool text_ends(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static void check_rpo(const uint8_t *bytes, size_t size)
{
    static struct rpo rpo;
    struct message_header message;
    memset(&rpo, 0, sizeof rpo);
    memcpy(&message, bytes, sizeof message);
    struct rpo_report report;
    if (size == sizeof report)
        memcpy(&report, bytes, sizeof report);
    else
        report.term = 0;
    const bool sound = rpo_receive(&rpo, bytes, size, report.term, 77);
    need(sound == (rpo.told_ns == 77), "kept when it is sound, else nothing");
    if (!sound) {
        need(rpo.told.site_count == 0, "nothing of what is malformed is kept");
        return;
    }
    need(fuzz_same(&rpo.told, sizeof rpo.told, bytes, size), "told as it came");
    need(rpo.told.site_count <= RPO_SITES, "sites within their bound");
    for (uint32_t i = 0; i < rpo.told.site_count; i++) {
        const struct rpo_site *site = &rpo.told.sites[i];
        need(text_ends(site->site, sizeof site->site), "a site's name ends");
        need(site->ledger_count <= RPO_LEDGERS, "ledgers within their bound");
    }
    rpo.told_ns = 0;
    need(rpo_receive(&rpo, bytes, size, report.term + 1, 78) && rpo.told_ns == 0,
         "of another term it is not believed");
}

static void check_certificate(const uint8_t *bytes, size_t size)
{
    static struct certificates c;
    static const uint64_t froms[] = {1, 2, 3};
    c.identity = &identity;
    c.size = 0;
    c.unwritten = false;
    c.received_total = c.refused_total = 0;
    certificate_record_begin(&c.record);
    struct certificate_view view;
    const size_t head = sizeof(struct message_header);
    const bool good = certificate_decode(bytes + head, size - head, &view) == STATUS_OK;
    for (size_t i = 0; i < 3; i++)
        certificates_receive(&c, froms[i], bytes, size);
    need(c.received_total + c.refused_total == 3, "each is received or refused");
    need(c.received_total <= 1, "at most one node is the one that it names");
    if (c.received_total == 0) {
        need(c.size == 0 && !c.unwritten, "what is refused is not kept");
        return;
    }
    need(good, "what is no certificate is refused");
    need(fuzz_same(c.bytes, c.size, bytes + head, size - head), "kept as it came");
    need(c.record.cluster_epoch == 3 &&
             memcmp(c.record.cluster_id, identity.cluster_id, sizeof identity.cluster_id) == 0,
         "of this cluster");
    /* The same again is not newer; with one that is newer held, it does not come back. */
    c.unwritten = false;
    certificates_receive(&c, c.record.node_id, bytes, size);
    need(!c.unwritten, "the same again changes nothing");
    c.record.sequence = view.record.sequence;
    if (c.record.term < UINT64_MAX) {
        c.record.term++;
        certificates_receive(&c, view.record.node_id, bytes, size);
        need(!c.unwritten, "an older one does not replace a newer one");
    }
}

/* With the digest that fits to it. */
static void seal_certificate(uint8_t *bytes, size_t size)
{
    const size_t head = sizeof(struct message_header);
    if (size < head + CERTIFICATE_DIGEST_SIZE)
        return;
    const struct hash_part part = {bytes + head, size - head - CERTIFICATE_DIGEST_SIZE};
    hash_parts(&part, 1, bytes + size - CERTIFICATE_DIGEST_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message_header header;
    if (size < sizeof header || size > 64 * 1024)
        return 0;
    memcpy(&header, data, sizeof header);
    header.reserved_0 = 0;
    header.size = (uint32_t)size;
    uint8_t *bytes = fuzz_copy(data, size);
    memcpy(bytes, &header, sizeof header);
    switch (header.type) {
    case MESSAGE_SITE_QUESTION:
    case MESSAGE_SITE_ANSWER:
        check_site(bytes, size);
        break;
    case MESSAGE_RPO:
        check_rpo(bytes, size);
        break;
    case MESSAGE_CERTIFICATE:
        check_certificate(bytes, size);
        seal_certificate(bytes, size);
        check_certificate(bytes, size);
        break;
    default:
        break;
    }
    free(bytes);
    return 0;
}
