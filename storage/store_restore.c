/*
 * Restart: an empty machine takes over the newest epoch.
 *
 * Small tables first, then accounts and balances walked side by side in order of ordinals. Every
 * value is checked on the way, and machine_restore_end() adds up the books.
 */
#include "storage/store_internal.h"

#include <stdlib.h>
#include <string.h>

/* `count` rows of `size` bytes, verified, in memory of their own. */
static enum status read_rows(struct store_txn *t, enum store_table table, uint64_t count,
                             size_t size, void **out)
{
    uint8_t *rows = malloc(count * size + 1);
    if (rows == NULL)
        return store_fail(t, STATUS_NO_MEMORY, table, count, "no memory for its rows");
    for (uint64_t i = 0; i < count; i++) {
        enum status status = store_get_small(t, table, i, rows + i * size, size);
        if (status != STATUS_OK) {
            free(rows);
            return status;
        }
    }
    *out = rows;
    return STATUS_OK;
}

static enum status account_chunk(struct store_txn *t, uint64_t ordinal, uint64_t account_count,
                                 const uint8_t **out)
{
    uint64_t key = ordinal / ACCOUNTS_PER_CHUNK, rest = account_count - ordinal;
    uint32_t count = rest < ACCOUNTS_PER_CHUNK ? (uint32_t)rest : ACCOUNTS_PER_CHUNK;
    enum status status = store_get(t, STORE_ACCOUNTS, key, CHUNK_SIZE, out);
    if (status == STATUS_NOT_FOUND)
        return store_fail(t, STATUS_CORRUPT, STORE_ACCOUNTS, key, "chunk is missing");
    if (status == STATUS_OK && !record_chunk_check(*out, STORE_ACCOUNTS, key, count))
        return store_fail(t, STATUS_CORRUPT, STORE_ACCOUNTS, key, "checksum is wrong");
    return status;
}

static enum status next_balance(struct store_txn *t, MDB_cursor *cursor, uint64_t ordinal,
                                struct balance_record *out)
{
    MDB_val k, v;
    uint64_t key = 0, sum;
    int code = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    if (code != 0)
        return code == MDB_NOTFOUND
                   ? store_fail(t, STATUS_CORRUPT, STORE_BALANCES, ordinal, "missing")
                   : store_fail_code(t, code, STORE_BALANCES, ordinal, "cannot read");
    if (k.mv_size == sizeof key)
        memcpy(&key, k.mv_data, sizeof key);
    if (k.mv_size != sizeof key || key != ordinal || v.mv_size != sizeof *out + sizeof sum)
        return store_fail(t, STATUS_CORRUPT, STORE_BALANCES, ordinal, "missing or of wrong size");
    memcpy(out, v.mv_data, sizeof *out);
    memcpy(&sum, (const uint8_t *)v.mv_data + sizeof *out, sizeof sum);
    if (sum != store_checksum(STORE_BALANCES, ordinal, 0, out, sizeof *out))
        return store_fail(t, STATUS_CORRUPT, STORE_BALANCES, ordinal, "checksum is wrong");
    return STATUS_OK;
}

static enum status restore_accounts(struct store *store, struct machine *machine)
{
    struct store_txn *t = &store->read;
    uint64_t count = store->view->head.account_count;
    const uint8_t *chunk = NULL;
    MDB_cursor *cursor;
    enum status status = STATUS_OK;
    int code = mdb_cursor_open(t->txn, t->dbi[STORE_BALANCES], &cursor);
    if (code != 0)
        return store_fail_code(t, code, STORE_BALANCES, 0, "cannot open a cursor");
    for (uint64_t i = 0; i < count && status == STATUS_OK; i++) {
        struct account_record account;
        struct balance_record balance;
        if (i % ACCOUNTS_PER_CHUNK == 0)
            status = account_chunk(t, i, count, &chunk);
        if (status == STATUS_OK)
            status = next_balance(t, cursor, i, &balance);
        if (status != STATUS_OK)
            break;
        memcpy(&account, chunk + i % ACCOUNTS_PER_CHUNK * sizeof account, sizeof account);
        status = machine_restore_account(machine, &account, &balance);
        if (status != STATUS_OK)
            status = store_fail(t, status, STORE_ACCOUNTS, i,
                                "the machine refuses the account with this ordinal (the key here)");
    }
    mdb_cursor_close(cursor);
    return status;
}

enum status store_restore(struct checkpoint *checkpoint, struct machine *machine)
{
    struct store *store = (struct store *)(void *)checkpoint;
    struct store_txn *t = &store->read;
    const struct store_head *head = &store->view->head;
    if (head->epoch_count == 0)
        return STATUS_NOT_FOUND;
    void *ledgers = NULL, *principals = NULL;
    struct request_window_record *window = malloc(sizeof *window);
    enum status status = STATUS_NO_MEMORY;
    if (window != NULL)
        status = store_get_small(t, STORE_META, STORE_META_REQUEST_WINDOW, window, sizeof *window);
    if (status == STATUS_OK)
        status =
            read_rows(t, STORE_LEDGERS, head->ledger_count, sizeof(struct ledger_record), &ledgers);
    if (status == STATUS_OK)
        status = read_rows(t, STORE_PRINCIPALS, head->principal_count,
                           sizeof(struct principal_record), &principals);
    if (status == STATUS_OK) {
        struct machine_checkpoint checkpoint_head = {
            .applied_index = head->applied_index,
            .applied_term = head->applied_term,
            .stamp = head->stamp,
            .transfer_count = head->transfer_count,
            .request_count = head->request_count,
            .ledger_count = (uint32_t)head->ledger_count,
            .ledgers = ledgers,
            .principal_count = (uint32_t)head->principal_count,
            .principals = principals,
            .request_window = window,
        };
        memcpy(checkpoint_head.digest, head->digest, sizeof checkpoint_head.digest);
        status = machine_restore_begin(machine, &checkpoint_head);
        if (status != STATUS_OK)
            status = store_fail(t, status, STORE_META, STORE_META_HEAD,
                                "the machine refuses the checkpoint");
    }
    if (status == STATUS_OK)
        status = restore_accounts(store, machine);
    if (status == STATUS_OK) {
        status = machine_restore_end(machine);
        if (status != STATUS_OK)
            status = store_fail(t, status, STORE_BALANCES, head->account_count,
                                "balances do not add up to the ledgers' totals");
    }
    free(principals);
    free(ledgers);
    free(window);
    if (status != STATUS_OK)
        store_note_failure(store, &t->error);
    return status;
}
