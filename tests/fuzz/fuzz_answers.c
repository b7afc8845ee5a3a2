/*
 * Answers of a server, as libtally and `tally observe` read them, out of any bytes: a client trusts
 * no count, size or text of an answer. The calls are the real ones; the connection below them is
 * not: call_run() here hands the input to the call's decoder at once.
 *
 *   - an answer is taken or refused with a status and words;
 *   - nothing is written behind the room that the caller gave, counts are at most what was asked;
 *   - the results of one transfer read the same by either of the two readers.
 */
#include "client/cli/observe_message.h"
#include "client/message.h"
#include "fuzz.h"

#include "tally/v1/ledger.pb-c.h"

#define ROOM 7 /* rows asked for */

static const uint8_t *input;
static size_t input_size;

enum tally_status call_check(struct tally_client *client, struct tally_call *call, bool changes,
                             bool submit)
{
    (void)client;
    (void)call;
    (void)changes;
    (void)submit;
    return TALLY_OK;
}

enum tally_status call_no_memory(struct tally_call *call, size_t size)
{
    return error_set(&call->error, TALLY_NO_MEMORY, "no memory for %zu bytes", size);
}

enum tally_status call_run(struct tally_client *client, const struct call_request *request)
{
    (void)client;
    free(request->message);
    const enum tally_status status =
        request->decode(request, input, input_size, &request->call->error);
    need(status == TALLY_OK || request->call->error.text[0] != '\0',
         "an answer is refused in words");
    return status;
}

enum tally_status call_submit(struct tally_client *client, const struct call_request *request,
                              tally_call_cb cb)
{
    (void)cb;
    return call_run(client, request);
}

static bool ends(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static void check_results(struct tally_call *call)
{
    static const struct tally_new_transfer transfer = {.ledger = 1, .code = 1};
    uint8_t result[2] = {0xee, 0xee}, other = 0xee;
    uint64_t index = 0, stamp = 0;
    const enum tally_status status = tally_create_transfers(NULL, call, &transfer, 1, result);
    need(result[1] == 0xee, "one result for one event");
    const bool good = observe_read_answer(input, input_size, &other, &index, &stamp);
    need(good == (status == TALLY_OK), "an answer to one is one to the other");
    if (good)
        need(other == result[0] && result[0] <= 127 && index == call->index &&
                 stamp == call->timestamp_ns,
             "the same answer");
}

/* What became of a request: both readers, and protobuf-c itself, tell the same results. */
static void check_told(struct tally_call *call)
{
    uint8_t outcome = 0xee, result = 0xee;
    uint64_t index = 0, stamp = 0;
    struct tally_request told = {.outcome = TALLY_OUTCOME_NONE};
    static const struct tally_identity asked = {.issued_at_ns = 1};
    const enum tally_status status = tally_get_request(NULL, call, &asked, NULL, &told);
    const bool good = observe_read_told(input, input_size, &outcome, &result, &index, &stamp);
    if (good)
        need(outcome <= 127 && (outcome != TALLY_OUTCOME_EXECUTED || result <= 127),
             "an outcome, and a result where it was executed");
    if (status != TALLY_OK)
        return;
    need(ends(told.method, sizeof told.method), "the method's name ends");
    need(told.outcome <= 127 && (told.outcome == TALLY_OUTCOME_EXECUTED || told.result_count == 0),
         "results only of what was executed");
    for (size_t i = 0; i < told.result_count; i++)
        need(told.results[i] <= 127, "a result that this version can know");
    if (told.outcome == TALLY_OUTCOME_EXECUTED) {
        Tally__V1__GetRequestResponse *outer =
            tally__v1__get_request_response__unpack(NULL, input_size, input);
        Tally__V1__CreateTransfersResponse *inner = tally__v1__create_transfers_response__unpack(
            NULL, outer->answer.len, outer->answer.data);
        need(inner != NULL && inner->n_results == told.result_count, "all results");
        for (size_t i = 0; i < told.result_count; i++)
            need((int)inner->results[i] == told.results[i], "a result is not cut to another");
        if (told.result_count == 1)
            need(good && result == told.results[0], "one result to both readers");
        tally__v1__create_transfers_response__free_unpacked(inner, NULL);
        tally__v1__get_request_response__free_unpacked(outer, NULL);
    }
    tally_request_deinit(&told);
}

/* Rows that the call did not return keep the caller's bytes. */
static bool untouched(const void *rows, size_t row_size, size_t count)
{
    const uint8_t *at = (const uint8_t *)rows + row_size * count;
    for (size_t i = 0; i < row_size; i++)
        if (at[i] != 0xee)
            return false;
    return true;
}

static void check_accounts(struct tally_call *call, bool page)
{
    static struct tally_account rows[ROOM + 1];
    static const struct tally_id ids[ROOM];
    size_t count = 0;
    uint32_t next = 0;
    memset(rows, 0xee, sizeof rows);
    const enum tally_status status =
        page ? tally_list_accounts(NULL, call, 0, 0, ROOM, rows, &count, &next)
             : tally_lookup_accounts(NULL, call, ids, ROOM, rows, &count);
    need(untouched(rows, sizeof rows[0], ROOM), "no row behind the room");
    need(status != TALLY_OK || count <= ROOM, "no more accounts than asked for");
}

static void check_transfers(struct tally_call *call, bool page)
{
    static struct tally_transfer rows[ROOM + 1];
    static const struct tally_id ids[ROOM];
    size_t count = 0;
    uint64_t next = 0;
    memset(rows, 0xee, sizeof rows);
    const enum tally_status status =
        page ? tally_list_transfers(NULL, call, 0, 0, ROOM, rows, &count, &next)
             : tally_lookup_transfers(NULL, call, ids, ROOM, rows, &count);
    need(untouched(rows, sizeof rows[0], ROOM), "no row behind the room");
    need(status != TALLY_OK || count <= ROOM, "no more transfers than asked for");
    for (size_t i = 0; status == TALLY_OK && i < count; i++)
        need(rows[i].refused <= 127, "a result that this version can know");
}

static void check_ledgers(struct tally_call *call)
{
    struct tally_ledger *rows = malloc((TALLY_LEDGERS_MAX + 1) * sizeof *rows);
    size_t count = 0;
    need(rows != NULL, "memory");
    memset(rows, 0xee, (TALLY_LEDGERS_MAX + 1) * sizeof *rows);
    const enum tally_status status = tally_list_ledgers(NULL, call, rows, &count);
    need(untouched(rows, sizeof *rows, TALLY_LEDGERS_MAX), "no row behind the room");
    for (size_t i = 0; status == TALLY_OK && i < count; i++)
        need(rows[i].exponent <= TALLY_EXPONENT_MAX &&
                 ends(rows[i].currency, sizeof rows[i].currency) &&
                 ends(rows[i].name, sizeof rows[i].name),
             "a ledger whose amounts can be shown");
    free(rows);
}

static void check_balance(struct tally_call *call)
{
    struct tally_trial_balance balance = {.row_count = 0};
    if (tally_trial_balance(NULL, call, 1, &balance) != TALLY_OK)
        return;
    need(balance.digest_size <= sizeof balance.digest, "a digest fits");
    need(balance.ledger.exponent <= TALLY_EXPONENT_MAX, "amounts can be shown");
    tally_trial_balance_deinit(&balance);
}

static void check_principals(struct tally_call *call)
{
    struct tally_principal *rows = NULL;
    size_t count = 0;
    if (tally_list_principals(NULL, call, &rows, &count) != TALLY_OK)
        return;
    for (size_t i = 0; i < count; i++)
        need(ends(rows[i].uri, sizeof rows[i].uri) && ends(rows[i].name, sizeof rows[i].name),
             "texts end");
    tally_free(rows);
}

static void check_members(struct tally_call *call)
{
    static struct tally_members members;
    memset(&members, 0, sizeof members);
    if (tally_list_members(NULL, call, &members) != TALLY_OK)
        return;
    need(members.count <= TALLY_MEMBERS_MAX, "members within their bound");
    for (size_t i = 0; i < members.count; i++)
        need(ends(members.rows[i].member.site, sizeof members.rows[i].member.site) &&
                 ends(members.rows[i].member.address, sizeof members.rows[i].member.address),
             "texts end");
}

static void check_operations(struct tally_call *call)
{
    static struct tally_site_report report;
    static const struct tally_site_request request = {.site = "A", .reason = "because"};
    static const struct tally_member member = {.node_id = 4, .site = "A", .address = "a:1"};
    uint64_t leader = 0;
    memset(&report, 0, sizeof report);
    if (tally_operate_site(NULL, call, &request, &report) == TALLY_OK) {
        need(report.check_count <= TALLY_SITE_CHECKS_MAX &&
                 report.step_count <= TALLY_SITE_STEPS_MAX &&
                 report.pause_count <= TALLY_MEMBERS_MAX,
             "a report within its bounds");
        for (size_t i = 0; i < report.check_count; i++)
            need(ends(report.checks[i].text, sizeof report.checks[i].text), "texts end");
        for (size_t i = 0; i < report.step_count; i++)
            need(ends(report.steps[i].text, sizeof report.steps[i].text), "texts end");
    }
    (void)tally_transfer_leadership(NULL, call, 0, &leader); /* any answer will do */
    (void)tally_add_member(NULL, call, &member, false);
}

static void check_in_doubt(struct tally_call *call)
{
    struct tally_in_doubt_page page;
    memset(&page, 0, sizeof page);
    if (tally_list_in_doubt(NULL, call, 0, 0, &page) != TALLY_OK)
        return;
    for (size_t i = 0; i < page.count; i++)
        need(ends(page.rows[i].principal, sizeof page.rows[i].principal), "texts end");
    tally_free(page.rows);
}

static void check_status(struct tally_call *call)
{
    char *text = NULL;
    if (tally_get_status(NULL, call, &text) == TALLY_OK)
        need(text != NULL, "a document");
    tally_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tally_call call = {.deadline_ms = 1, .identity = {.issued_at_ns = 1}};
    if (size == 0)
        return 0;
    uint8_t *bytes = fuzz_copy(data + 1, size - 1);
    input = bytes;
    input_size = size - 1;
    switch (data[0] % 13) {
    case 0:
        check_results(&call);
        break;
    case 1:
        check_told(&call);
        break;
    case 2:
    case 3:
        check_accounts(&call, data[0] % 13 == 3);
        break;
    case 4:
    case 5:
        check_transfers(&call, data[0] % 13 == 5);
        break;
    case 6:
        check_ledgers(&call);
        break;
    case 7:
        check_balance(&call);
        break;
    case 8:
        check_principals(&call);
        break;
    case 9:
        check_members(&call);
        break;
    case 10:
        check_operations(&call);
        break;
    case 11:
        check_in_doubt(&call);
        break;
    default:
        check_status(&call);
    }
    free(bytes);
    return 0;
}
