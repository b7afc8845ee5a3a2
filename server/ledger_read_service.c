/*
 * Questions about money and requests. Each waits until the node says that its state is right to
 * answer (linearizable, or min_index applied), then reads core in one go (transfers in slices) and
 * writes the answer on a page of the dispatcher. The work per call is bounded: 8190 ids, 4000 rows
 * of a list, 16000 records looked at by a filtered list (which then returns a short page and where
 * to go on). A trial balance walks all accounts, 10 to 25 ms a million.
 */
#include "core/invariant.h"
#include "core/policy.h"
#include "server/dispatch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LIST_LIMIT_DEFAULT 1000
#define LIST_LIMIT_MAX     4000
/* Records a filtered list looks at before it returns a short page. */
#define LIST_SCAN_MAX 16000
/* A read in slices looks at the clock after so many records. */
#define SLICE_STEP 16

static const struct machine *machine_of(const struct work *work)
{
    return node_machine(dispatch_options(work->dispatch)->node);
}

static uint64_t index_of(const struct work *work)
{
    return machine_applied_index(machine_of(work));
}

/* ---- accounts ---- */

static void lookup_accounts_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct wire_writer *page = dispatch_page(work->dispatch);
    size_t offset = 0;
    struct id128 id;
    struct account account;
    while (wire_next_id(work->message, work->message_size, &offset, &id))
        if (machine_account(machine, &id, &account))
            wire_write_account(page, 1, &account);
    work_finish_page(work, index_of(work));
}

static void list_accounts_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct wire_writer *page = dispatch_page(work->dispatch);
    uint32_t count = machine_account_count(machine);
    uint32_t listed = 0, scanned = 0;
    uint64_t ordinal = work->query.first;
    for (; ordinal < count && listed < work->query.limit && scanned < LIST_SCAN_MAX;
         ordinal++, scanned++) {
        struct account account;
        if (!machine_account_at(machine, (uint32_t)ordinal, &account))
            break;
        if (work->query.ledger != 0 && account.record.ledger != work->query.ledger)
            continue;
        wire_write_account(page, 1, &account);
        listed++;
    }
    if (ordinal < count)
        wire_write_uint(page, 2, ordinal);
    work_finish_page(work, index_of(work));
}

/* ---- transfers ---- */

/* The id of the account with this ordinal, or NULL when there was none. */
static const struct id128 *account_id(const struct machine *machine, uint32_t ordinal,
                                      struct account *account)
{
    if (ordinal == ORDINAL_NONE)
        return NULL;
    bool found = machine_account_at(machine, ordinal, account);
    invariant_values(found, ordinal, machine_account_count(machine));
    return &account->record.id;
}

static void write_transfer(struct wire_writer *page, const struct machine *machine,
                           const struct transfer_record *transfer, uint64_t sequence)
{
    struct account debit, credit;
    wire_write_transfer(page, 1, transfer, sequence,
                        account_id(machine, transfer->debit_ordinal, &debit),
                        account_id(machine, transfer->credit_ordinal, &credit));
}

/* Transfers may be on disk, and looking one up among older ones costs several us: both calls below
 * work in slices. What they tell is the state at their first slice: records never change, and those
 * that came later are told by their stamp or sequence and left out. */
static struct wire_writer *slice_page(struct work *work)
{
    struct wire_writer *page = work_long_page(work);
    if (!page) {
        work_read_again(work);
        return NULL;
    }
    if (!work->progress.begun) {
        work->progress.begun = true;
        work->progress.index = index_of(work);
        work->progress.stamp = machine_stamp(machine_of(work));
        work->progress.count = machine_transfer_count(machine_of(work));
    }
    return page;
}

static void lookup_transfers_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct wire_writer *page = slice_page(work);
    if (!page)
        return;
    struct id128 id;
    struct transfer_record transfer;
    for (uint32_t n = 1;
         wire_next_id(work->message, work->message_size, &work->progress.offset, &id); n++) {
        if (machine_transfer(machine, &id, &transfer) && transfer.timestamp <= work->progress.stamp)
            write_transfer(page, machine, &transfer, 0);
        if (n % SLICE_STEP == 0 && work_slice_is_over(work)) {
            work_read_again(work);
            return;
        }
    }
    work_finish_page(work, work->progress.index);
}

static void list_transfers_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct wire_writer *page = slice_page(work);
    if (!page)
        return;
    uint64_t count = work->progress.count;
    uint64_t *sequence = &work->progress.sequence;
    while (*sequence < count && work->progress.listed < work->query.limit &&
           work->progress.scanned < LIST_SCAN_MAX) {
        struct transfer_record transfer;
        bool found = machine_transfer_at(machine, *sequence, &transfer);
        invariant_values(found, *sequence, count);
        if (work->query.ledger == 0 || transfer.ledger == work->query.ledger) {
            write_transfer(page, machine, &transfer, *sequence);
            work->progress.listed++;
        }
        ++*sequence;
        if (++work->progress.scanned % SLICE_STEP == 0 && work_slice_is_over(work)) {
            work_read_again(work);
            return;
        }
    }
    if (*sequence < count)
        wire_write_uint(page, 2, *sequence);
    work_finish_page(work, work->progress.index);
}

/* ---- ledgers ---- */

static void list_ledgers_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct wire_writer *page = dispatch_page(work->dispatch);
    struct ledger_record ledger;
    for (uint32_t i = 0; machine_ledger_at(machine, i, &ledger); i++)
        wire_write_ledger(page, 1, &ledger);
    work_finish_page(work, index_of(work));
}

struct trial_balance {
    struct wire_writer *page;
    u128 debits_posted, credits_posted, debits_pending, credits_pending;
};

static void trial_balance_row(void *context, const struct trial_balance_row *row)
{
    struct trial_balance *sum = context;
    wire_write_trial_balance_row(sum->page, 2, row);
    sum->debits_posted += row->debits_posted;
    sum->credits_posted += row->credits_posted;
    sum->debits_pending += row->debits_pending;
    sum->credits_pending += row->credits_pending;
}

static void write_sum(struct wire_writer *page, uint32_t field, u128 sum)
{
    wire_write_amount(page, field, (uint64_t)sum, (uint64_t)(sum >> 64));
}

/* A ledger has at most 65535 codes of 100 bytes: 6.5 MB would not fit, so what does not fit is
 * refused rather than cut. A chart of accounts has some hundreds. */
static void trial_balance_cb(struct work *work)
{
    const struct machine *machine = machine_of(work);
    struct ledger_record ledger;
    if (!machine_ledger(machine, work->query.ledger, &ledger)) {
        char text[96];
        snprintf(text, sizeof text, "there is no ledger %" PRIu32 "; ListLedgers names them",
                 work->query.ledger);
        work_finish_code(work, GRPC_NOT_FOUND, text);
        return;
    }
    struct trial_balance sum = {.page = dispatch_page(work->dispatch)};
    bool balanced = false;
    wire_write_ledger(sum.page, 1, &ledger);
    machine_trial_balance(machine, ledger.id, trial_balance_row, &sum, &balanced);
    write_sum(sum.page, 3, sum.debits_posted);
    write_sum(sum.page, 4, sum.credits_posted);
    write_sum(sum.page, 5, sum.debits_pending);
    write_sum(sum.page, 6, sum.credits_pending);
    wire_write_uint(sum.page, 7, balanced);
    wire_write_fixed64(sum.page, 8, index_of(work));
    wire_write_fixed64(sum.page, 9, machine_stamp(machine));
    uint8_t digest[16];
    machine_digest(machine, digest);
    wire_write_bytes(sum.page, 10, digest, sizeof digest);
    if (sum.page->full)
        work_finish_code(work, GRPC_RESOURCE_EXHAUSTED,
                         "the ledger has more account codes than one answer holds; list its "
                         "accounts instead");
    else
        work_finish_page(work, index_of(work));
}

/* ---- requests ---- */

/* Name ordinal of the principal that a name or the caller stands for; false when unlisted. */
static bool asked_principal(const struct work *work, uint32_t *out)
{
    const struct machine *machine = machine_of(work);
    const struct wire_get_request *asked = &work->get_request;
    if (asked->principal_size == 0) {
        *out = work->caller.name_ordinal;
        return true;
    }
    for (uint32_t i = 0; i < machine_principal_count(machine); i++) {
        const struct principal_record *row = machine_principal_at(machine, i);
        if (row->name_size == asked->principal_size &&
            memcmp(row->name, asked->principal, row->name_size) == 0) {
            *out = row->name_ordinal;
            return true;
        }
    }
    return false;
}

static void get_request_cb(struct work *work)
{
    const struct wire_get_request *asked = &work->get_request;
    uint32_t name_ordinal;
    if (!asked_principal(work, &name_ordinal)) {
        work_finish_code(work, GRPC_NOT_FOUND, "there is no principal of that name");
        return;
    }
    enum permission_read needed =
        name_ordinal == work->caller.name_ordinal ? READ_OWN_REQUEST : READ_ANY_REQUEST;
    if (!policy_may_read(work->caller.role, needed) &&
        !policy_may_read(work->caller.role, READ_ANY_REQUEST)) {
        work_finish_code(work, GRPC_PERMISSION_DENIED,
                         "requests of another principal may be asked for by auditors only");
        return;
    }
    uint8_t results[REQUEST_EVENTS_MAX];
    struct answer answer;
    machine_request(machine_of(work), name_ordinal, asked->identity.nonce,
                    asked->identity.issued_at_ns, &answer, results);
    size_t size;
    enum status status = wire_request_answer_size(&answer, &size);
    if (status != STATUS_OK) {
        work_finish_status(work, status);
        return;
    }
    uint8_t *room = grpc_call_reserve(work->call, size);
    if (room)
        wire_write_request_answer(&answer, room);
    work_finish(work, index_of(work));
}

/* ---- the beginning ---- */

static bool check_limit(struct work *work)
{
    if (work->query.limit > LIST_LIMIT_MAX) {
        char text[96];
        snprintf(text, sizeof text, "limit: %" PRIu32 " is too large; at most %d is allowed",
                 work->query.limit, LIST_LIMIT_MAX);
        work_finish_code(work, GRPC_INVALID_ARGUMENT, text);
        return false;
    }
    if (work->query.limit == 0)
        work->query.limit = LIST_LIMIT_DEFAULT;
    return true;
}

static void begin_query(struct work *work, enum wire_query_kind kind, void (*cb)(struct work *work))
{
    struct wire_error error;
    if (wire_decode_query(kind, work->message, work->message_size, &work->query, &error) !=
        STATUS_OK)
        work_finish_malformed(work, &error);
    else if (check_limit(work)) {
        work->progress.sequence = work->query.first;
        work_read(work, work->query.min_index, cb);
    }
}

static void begin_lookup(struct work *work, void (*cb)(struct work *work))
{
    struct wire_error error;
    if (wire_decode_lookup(work->message, work->message_size, &work->lookup, &error) != STATUS_OK)
        work_finish_malformed(work, &error);
    else
        work_read(work, work->lookup.min_index, cb);
}

static void begin_get_request(struct work *work)
{
    struct wire_error error;
    if (wire_decode_get_request(work->message, work->message_size, &work->get_request, &error) !=
        STATUS_OK)
        work_finish_malformed(work, &error);
    else
        work_read(work, work->get_request.min_index, get_request_cb);
}

void ledger_read_service_begin(struct work *work)
{
    switch (work->method) {
    case METHOD_GET_REQUEST:
        begin_get_request(work);
        return;
    case METHOD_LOOKUP_ACCOUNTS:
        begin_lookup(work, lookup_accounts_cb);
        return;
    case METHOD_LOOKUP_TRANSFERS:
        begin_lookup(work, lookup_transfers_cb);
        return;
    case METHOD_LIST_LEDGERS:
        begin_query(work, WIRE_QUERY_MIN_INDEX, list_ledgers_cb);
        return;
    case METHOD_LIST_ACCOUNTS:
        begin_query(work, WIRE_QUERY_LIST_ACCOUNTS, list_accounts_cb);
        return;
    case METHOD_LIST_TRANSFERS:
        begin_query(work, WIRE_QUERY_LIST_TRANSFERS, list_transfers_cb);
        return;
    case METHOD_TRIAL_BALANCE:
        begin_query(work, WIRE_QUERY_TRIAL_BALANCE, trial_balance_cb);
        return;
    default:
        invariant_values(false, work->method, 0);
    }
}
