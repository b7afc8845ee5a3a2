/*
 * Writes the seeds of the corpora, with the encoders that the product and its clients use:
 *
 *     make_seeds DIRECTORY      one folder per target, one file per seed, named seed-WHAT
 *
 * What fuzzing found lies beside them under its hash, and inputs that once broke something under
 * regression-WHAT. scripts/fuzz.sh --seeds runs this; files change only when a format does.
 */
#include "client/tally.h"
#include "core/command.h"
#include "replication/agreed.h"
#include "replication/catch_up/catch_up_message.h"
#include "replication/consensus/raft_message.h"
#include "replication/message.h"
#include "replication/node/certificate_record.h"
#include "replication/node/rpo.h"
#include "replication/node/site_message.h"
#include "server/wire.h"
#include "storage/journal_format.h"

#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *directory;

static void fail(const char *what)
{
    fprintf(stderr, "make_seeds: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* `choice` is the target's first byte; below 0: there is none. */
static void seed(const char *target, const char *name, int choice, const void *bytes, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, target);
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        fail(path);
    snprintf(path, sizeof path, "%s/%s/seed-%s", directory, target, name);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        fail(path);
    if (choice >= 0)
        fputc(choice, file);
    if (fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        fail(path);
}

static void seed_text(const char *target, const char *name, int choice, const char *text)
{
    seed(target, name, choice, text, strlen(text));
}

/* ---- the log's other entries ---- */

static const struct member members[] = {
    {.node_id = 1, .site = "A", .address = "a1.bank.example:7001", .incarnation = {1, 2}},
    {.node_id = 2, .site = "B", .address = "[fd00::2]:7001", .incarnation = {3, 4}},
    {.node_id = 3, .kind = MEMBER_WITNESS, .site = "C", .address = "10.0.0.3:7001"},
};

static struct durability_entry durability(void)
{
    struct durability_entry entry;
    durability_entry_default(&entry);
    entry.kind = DURABILITY_DEGRADE;
    entry.mode = DURABILITY_DEGRADED;
    entry.number = 7;
    entry.stamp = 1795300000000000000;
    entry.automatic = true;
    snprintf(entry.site, sizeof entry.site, "B");
    snprintf(entry.who, sizeof entry.who, "policy");
    snprintf(entry.why, sizeof entry.why, "site B silent for 1000 ms");
    return entry;
}

static void make_agreed(void)
{
    static struct agreed agreed;
    uint8_t entry[DURABILITY_ENTRY_SIZE], table_bytes[MEMBER_TABLE_BYTES_MAX];
    uint8_t blob[JOURNAL_CONFIGURATION_SIZE_MAX];
    char text[MEMBER_TEXT_SIZE];
    struct member_table table = {.count = 3, .votes = {true, true, true}};
    memcpy(table.members, members, sizeof members);
    struct durability_entry degrade = durability();
    if (durability_entry_encode(&degrade, entry) != STATUS_OK ||
        member_print(&members[0], text) != STATUS_OK)
        fail("encoding");
    seed("agreed", "degrade", 0, entry, sizeof entry);
    const size_t size = member_table_encode(&table, table_bytes);
    seed("agreed", "table", 1, table_bytes, size);
    seed_text("agreed", "member", 2, text);
    agreed_init(&agreed);
    agreed.configuration_index = 3;
    agreed.configuration_size = (uint32_t)size;
    memcpy(agreed.configuration, table_bytes, size);
    agreed.durability_index = 12;
    agreed.durability = degrade;
    seed("agreed", "blob", 3, blob, agreed_encode(&agreed, blob));
    degrade.kind = DURABILITY_RETURN;
    degrade.mode = DURABILITY_SYNC;
    if (durability_entry_encode(&degrade, entry) != STATUS_OK)
        fail("encoding");
    seed("agreed", "return", 0, entry, sizeof entry);
}

/* ---- what peers tell ---- */

static void make_told(void)
{
    static uint8_t bytes[sizeof(struct message_header) + CERTIFICATE_SIZE_MAX];
    const struct site_question question = site_question_make(5, 30000);
    seed("told", "question", -1, &question, sizeof question);
    struct site_answer answer = {.sequence = 5, .flags = SITE_ANSWER_SERVES, .applied_index = 9};
    const struct pause pause = {.longest_wait_ns = 3, .longest_gap_ns = 4, .answered = 5};
    site_answer_seal(&answer, &pause);
    seed("told", "answer", -1, &answer, sizeof answer);
    static struct rpo_report report = {.message = {.type = MESSAGE_RPO, .size = sizeof report},
                                       .term = 4,
                                       .index = 99,
                                       .site_count = 2};
    for (int i = 0; i < 2; i++) {
        snprintf(report.sites[i].site, sizeof report.sites[i].site, "%c", 'A' + i);
        report.sites[i].flags = RPO_KNOWN | RPO_AMOUNTS;
        report.sites[i].ledger_count = 1;
        report.sites[i].ledgers[0] = (struct rpo_ledger){.ledger = 1, .amount_low = 5};
    }
    seed("told", "rpo", -1, &report, sizeof report);
    struct certificate_view view = {.signature = (const uint8_t *)"0123456789abcdef",
                                    .signature_size = 16,
                                    .chain = (const uint8_t *)"chain",
                                    .chain_size = 5};
    certificate_record_begin(&view.record);
    view.record.cluster_id[0] = 0xc1;
    view.record.cluster_id[1] = 0xc2;
    view.record.cluster_epoch = 3;
    view.record.node_id = 2;
    view.record.term = view.record.sequence = 1;
    view.record.index = view.record.index_term = view.record.stamp = 1;
    const size_t size = certificate_encode(&view, bytes + sizeof(struct message_header));
    const struct message_header header = {.type = MESSAGE_CERTIFICATE,
                                          .size = (uint32_t)(sizeof header + size)};
    memcpy(bytes, &header, sizeof header);
    seed("told", "certificate", -1, bytes, sizeof header + size);
}

/* ---- gRPC ---- */

static void pack(const char *target, const char *name, int choice, const ProtobufCMessage *message)
{
    const size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    if (bytes == NULL)
        fail("memory");
    protobuf_c_message_pack(message, bytes);
    seed(target, name, choice, bytes, size);
    free(bytes);
}

static void make_queries(void)
{
    uint8_t nonce[16] = {1, 2, 3};
    char site[] = "B", reason[] = "drill of the second quarter", settings[] = "lag_ms=300",
         address[] = "b1.bank.example:7001", principal[] = "channel";
    Tally__V1__ListTransfersRequest list;
    tally__v1__list_transfers_request__init(&list);
    list.ledger = 1;
    list.first = 1ull << 40;
    list.limit = 1000;
    list.min_index = 99;
    pack("wire_query", "list", WIRE_QUERY_LIST_TRANSFERS, &list.base);
    Tally__V1__ListInDoubtRequest doubt;
    tally__v1__list_in_doubt_request__init(&doubt);
    doubt.since_ns = 1795300000000000000;
    doubt.limit = 5;
    pack("wire_query", "in_doubt", WIRE_QUERY_IN_DOUBT, &doubt.base);
    Tally__V1__RequestIdentity identity;
    tally__v1__request_identity__init(&identity);
    identity.nonce = (ProtobufCBinaryData){sizeof nonce, nonce};
    identity.issued_at_ns = 1795300000000000000;
    Tally__V1__GetRequestRequest get;
    tally__v1__get_request_request__init(&get);
    get.identity = &identity;
    get.principal = principal;
    pack("wire_query", "get_request", 6, &get.base);
    Tally__V1__OperatorsNumber seen;
    tally__v1__operators_number__init(&seen);
    seen.number = 3;
    Tally__V1__OperateSiteRequest operate;
    tally__v1__operate_site_request__init(&operate);
    operate.operation = TALLY__V1__SITE_OPERATION__DRAIN;
    operate.site = site;
    operate.reason = reason;
    operate.settings = settings;
    operate.dry_run = operate.force = operate.power_off = 1;
    operate.seen = &seen;
    pack("wire_query", "operate_site", 7, &operate.base);
    seed_text("wire_query", "health", 8, "\x0a\x0ftally.v1.Ledger");
    Tally__V1__Member member;
    tally__v1__member__init(&member);
    member.node_id = 4;
    member.site = site;
    member.address = address;
    member.incarnation = identity.nonce;
    Tally__V1__ReplaceMemberRequest replace;
    tally__v1__replace_member_request__init(&replace);
    replace.old_node_id = 2;
    replace.member = &member;
    replace.force = 1;
    pack("wire_query", "replace_member", 10, &replace.base);
}

static void make_answers(void)
{
    Tally__V1__Result results[] = {TALLY__V1__RESULT__OK};
    uint8_t id[16] = {1}, body[64];
    Tally__V1__CreateTransfersResponse created;
    tally__v1__create_transfers_response__init(&created);
    created.results = results;
    created.n_results = 1;
    created.index = 7;
    created.timestamp = 1795300000000000000;
    pack("answers", "results", 0, &created.base);
    char method[] = "CreateTransfers", currency[] = "EUR", name[] = "Euro";
    Tally__V1__GetRequestResponse told;
    tally__v1__get_request_response__init(&told);
    told.method = method;
    told.answer =
        (ProtobufCBinaryData){tally__v1__create_transfers_response__pack(&created, body), body};
    pack("answers", "told", 1, &told.base);
    Tally__V1__Amount amount;
    tally__v1__amount__init(&amount);
    amount.low = 5;
    Tally__V1__Transfer transfer;
    tally__v1__transfer__init(&transfer);
    transfer.id = transfer.debit_account_id = (ProtobufCBinaryData){sizeof id, id};
    transfer.amount = &amount;
    Tally__V1__Transfer *transfers[] = {&transfer, &transfer};
    Tally__V1__ListTransfersResponse page;
    tally__v1__list_transfers_response__init(&page);
    page.transfers = transfers;
    page.n_transfers = 2;
    page.next_first = 3;
    pack("answers", "transfers", 5, &page.base);
    Tally__V1__LedgerInfo ledger;
    tally__v1__ledger_info__init(&ledger);
    ledger.id = 1;
    ledger.currency = currency;
    ledger.name = name;
    ledger.exponent = 2;
    Tally__V1__TrialBalanceRow row;
    tally__v1__trial_balance_row__init(&row);
    row.debits_posted = row.credits_posted = &amount;
    Tally__V1__TrialBalanceRow *rows[] = {&row};
    Tally__V1__TrialBalanceResponse balance;
    tally__v1__trial_balance_response__init(&balance);
    balance.ledger = &ledger;
    balance.rows = rows;
    balance.n_rows = 1;
    balance.balanced = 1;
    balance.digest = (ProtobufCBinaryData){sizeof id, id};
    pack("answers", "balance", 7, &balance.base);
    Tally__V1__LedgerInfo *ledgers[] = {&ledger};
    Tally__V1__ListLedgersResponse list;
    tally__v1__list_ledgers_response__init(&list);
    list.ledgers = ledgers;
    list.n_ledgers = 1;
    pack("answers", "ledgers", 6, &list.base);
}

/* A client's first bytes: greeting, one call with a message, its end. */
struct upload {
    const char *bytes;
    size_t size;
};

static ssize_t upload_cb(nghttp2_session *session, int32_t stream_id, uint8_t *out, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *context)
{
    (void)session;
    (void)stream_id;
    (void)room;
    (void)context;
    const struct upload *upload = source->ptr;
    memcpy(out, upload->bytes, upload->size);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)upload->size;
}

static void make_http2(void)
{
#define FIELD_OF(name, value)                                                                      \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1,             \
            sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE                                                \
    }
    static const char *const paths[] = {"/e/U", "/e/C"};
    for (int i = 0; i < 2; i++) {
        uint8_t bytes[4096];
        size_t size = 0;
        nghttp2_session_callbacks *callbacks;
        nghttp2_session *session = NULL;
        struct upload upload = {"\0\0\0\0\5hello\0\0\0\0\1!", i == 0 ? 10 : 16};
        nghttp2_nv fields[] = {
            FIELD_OF(":method", "POST"),
            FIELD_OF(":scheme", "https"),
            FIELD_OF(":path", "/e/U"),
            FIELD_OF(":authority", "node"),
            FIELD_OF("content-type", "application/grpc"),
            FIELD_OF("te", "trailers"),
            FIELD_OF("grpc-timeout", "9S"),
            FIELD_OF("tally-max-age-ms", "500"),
        };
        fields[2].value = (uint8_t *)(uintptr_t)paths[i];
        const nghttp2_data_provider body = {.source = {.ptr = &upload}, .read_callback = upload_cb};
        if (nghttp2_session_callbacks_new(&callbacks) != 0 ||
            nghttp2_session_client_new(&session, callbacks, NULL) != 0 ||
            nghttp2_submit_settings(session, 0, NULL, 0) != 0 ||
            nghttp2_submit_request(session, NULL, fields, sizeof fields / sizeof fields[0], &body,
                                   NULL) < 0)
            fail("nghttp2");
        const uint8_t *piece;
        ssize_t got;
        while ((got = nghttp2_session_mem_send(session, &piece)) > 0 &&
               size + (size_t)got <= sizeof bytes) {
            memcpy(bytes + size, piece, (size_t)got);
            size += (size_t)got;
        }
        seed("http2", i == 0 ? "unary" : "chat", 0x14, bytes, size);
        nghttp2_session_del(session);
        nghttp2_session_callbacks_del(callbacks);
    }
}

/* ---- texts and files ---- */

static void make_texts(void)
{
    seed_text("config", "file", 0,
              "node:\n  directory: data\nlisten:\n  grpc: 127.0.0.1:7400\n  ops: '[::1]:7401'\n"
              "peer:\n  listen: 10.0.0.1:7402\ncluster:\n  election_ms: 250\n  heartbeat_ms: 50\n"
              "tls:\n  certificate: a.pem\n  key: a.key\n  ca: ca.pem\n"
              "limits:\n  request_bytes: 256 MiB\n  drain_ms: 0\n"
              "journal:\n  segment_bytes: 64MiB\nlog:\n  level: info\n");
    seed_text("config", "address", 1, "[fd00::7]:7400");
    seed_text("config", "number", 2, "18446744073709551615");
    seed_text("config", "size", 3, "16 TiB");
    const struct tally_identity identity = {.nonce = {1, 2}, .issued_at_ns = 1795300000000000000};
    const struct tally_amount amount = {.low = 1230, .high = 1};
    char text[TALLY_IDENTITY_SIZE > TALLY_AMOUNT_SIZE ? TALLY_IDENTITY_SIZE : TALLY_AMOUNT_SIZE];
    tally_identity_format(&identity, text);
    seed_text("flags", "identity", 2, text);
    tally_amount_format(&amount, 2, text);
    seed_text("flags", "amount", 1 + 2 * 13, text);
    seed_text("flags", "id", 0, "name:till 7");
    seed_text("flags", "id_uuid", 0, "01234567-89ab-cdef-0123-456789abcdef");
    seed_text("flags", "member", 3,
              "--node-id 4 --site B --kind data --address b2.bank.example:7001 --incarnation "
              "000102030405060708090a0b0c0d0e0f");
    seed_text("flags", "policy", 4,
              "decision=never degrade_after_ms=1000 lag_ms=300 preferred_site=A on_bound=refuse");
    seed_text("flags", "time", 5, "2026-11-22T08:00:00.5+01:00");
    seed_text("flags", "time_ns", 5, "1795300000000000000");
    seed_text("flags", "date", 6, "2026-11-22");
    seed_text("flags", "account_flags", 6,
              "debits_must_not_exceed_credits|credits_must_not_exceed_debits");
    seed_text("flags", "servers", 7, "a1:7400, [::1]:7400,b1:7400");
    seed_text("flags", "site", 8, "A=a1.bank.example:7400,[fd00::1]:7400");
    seed_text("flags", "generation", 9, "journal-7");
    seed_text("flags", "segment", 9, "00000000000000000042.seg");
    seed_text("flags", "timeout", 10, "10S");
    seed_text("flags", "percent", 11, "50%25 of caf%C3%A9");
    seed("flags", "head", 12,
         ":path\0/tally.v1.Ledger/CreateTransfers\0content-type\0application/grpc+proto\0te\0"
         "trailers\0grpc-timeout\0"
         "10S\0tally-max-age-ms\0"
         "500\0tally-durability\0both-sites",
         149);
}

static void make_patches(void)
{
    static const char *const files[] = {"identity",   "current",     "hard_state", "certificate",
                                        "quarantine", "witness_log", "floors"};
    for (int i = 0; i < 7; i++) {
        const uint8_t bytes[] = {3, 30, 0, 0x31}; /* checksum made right; one patch */
        seed("data_directory", files[i], i, bytes, sizeof bytes);
    }
    static const char *const values[] = {"requests", "records", "ids", "runs", "manifest"};
    for (int i = 0; i < 5; i++) {
        const uint8_t bytes[] = {1, 0, 1, 7, 16, 0, 9};
        char name[32];
        seed("store", values[i], i, bytes, sizeof bytes);
        snprintf(name, sizeof name, "%s_repaired", values[i]);
        seed("store", name, 0x80 + i, bytes, sizeof bytes);
    }
}

/* ---- patches of the journal ---- */

/* The target patches a sound journal of two segments of this size; the patch is an offset in three
 * bytes and a value. Its first byte says whether checksums are repaired behind it. */
#define JOURNAL_SEGMENT  (64u * 1024)
#define JOURNAL_REFUSED  1
#define JOURNAL_REPAIRED 2

struct journal_patch {
    const char *name;
    uint32_t offset;
    uint8_t value;
};

#define OF_HEADER(field) offsetof(struct journal_segment_header, field)
#define OF_RECORD(field) (JOURNAL_PAGE_SIZE + offsetof(struct journal_record_header, field))

static const struct journal_patch journal_patches[] = {
    {"version", OF_HEADER(version), 9},
    {"cluster", OF_HEADER(cluster_id), 0xaa},
    {"generation", OF_HEADER(generation), 0xaa},
    {"number", OF_HEADER(number), 3},
    {"size", OF_HEADER(size) + 2, 2},
    {"anchor-index", JOURNAL_SEGMENT + OF_HEADER(anchor_index), 1},
    {"anchor-head", JOURNAL_SEGMENT + OF_HEADER(anchor_head), 0xaa},
    {"before", JOURNAL_SEGMENT + OF_HEADER(previous_generation), 0xaa},
    {"configuration", OF_HEADER(configuration_size) + 1, 0xff},
    {"sequence", OF_RECORD(sequence), 9},
    {"synced-to", OF_RECORD(synced_to), 0xff},
    {"index", OF_RECORD(index), 7},
    {"term", OF_RECORD(term), 0xff},
    {"length", OF_RECORD(length), 0xff},
    {"length-of-all", OF_RECORD(length) + 3, 0xff},
    {"truncation", OF_RECORD(type), JOURNAL_TRUNCATE & 0xff},
    {"other-type", OF_RECORD(type) + 1, JOURNAL_TRUNCATE >> 8},
    {"body", OF_RECORD(body_checksum) + 32, 0xaa},
};

static size_t put_patch(uint8_t *out, uint32_t offset, uint8_t value)
{
    out[0] = (uint8_t)offset;
    out[1] = (uint8_t)(offset >> 8);
    out[2] = (uint8_t)(offset >> 16);
    out[3] = value;
    return 4;
}

static void make_journal(void)
{
    uint8_t bytes[4 * JOURNAL_RECORD_ALIGN];
    char name[64];
    for (size_t i = 0; i < sizeof journal_patches / sizeof *journal_patches; i++) {
        const struct journal_patch *patch = &journal_patches[i];
        const size_t size = put_patch(bytes, patch->offset, patch->value);
        seed("journal_recover", patch->name, JOURNAL_REFUSED, bytes, size);
        snprintf(name, sizeof name, "%s-repaired", patch->name);
        seed("journal_recover", name, JOURNAL_REPAIRED, bytes, size);
    }
    /* A hole: the header of the first record is gone, sound ones follow. */
    size_t size = 0;
    for (uint32_t i = 0; i < JOURNAL_RECORD_ALIGN; i++)
        size += put_patch(bytes + size, JOURNAL_PAGE_SIZE + i, 0);
    seed("journal_recover", "hole", JOURNAL_REFUSED, bytes, size);
    seed("journal_recover", "hole-repaired", JOURNAL_REPAIRED, bytes, size);
    seed("journal_recover", "nothing", JOURNAL_REFUSED, bytes, 0);
    seed("journal_recover", "nothing-repaired", JOURNAL_REPAIRED, bytes, 0);
    /* A segment of its own, of which only the header is there. */
    static struct journal_segment_header header = {.cluster_id = {1},
                                                   .generation = {2},
                                                   .number = 1,
                                                   .size = JOURNAL_SEGMENT,
                                                   .first_sequence = 1};
    journal_segment_header_seal(&header);
    seed("journal_recover", "header", 0, &header, sizeof header);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make_seeds DIRECTORY\n");
        return 2;
    }
    directory = argv[1];
    make_agreed();
    make_told();
    make_queries();
    make_answers();
    make_http2();
    make_texts();
    make_patches();
    make_journal();
    return 0;
}
