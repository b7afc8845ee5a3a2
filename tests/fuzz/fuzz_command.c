/*
 * Any bytes into command_check() and machine_apply(): no invariant may trip, every request that the
 * entry's header announces is answered once, in order, and when the check says OK nothing answers
 * MALFORMED. At the end the books must balance and a machine restored from checkpoints must have
 * the same digest.
 *
 * The input is a program. Its first byte: bit 0 opens ledgers and accounts, bit 1 asks for the
 * restore at the end. Then steps, by a byte modulo 4:
 *
 *   0  raw: u16 size, that many bytes are an entry (its version is made right)
 *   1  built: an entry of well-formed requests; their events are bytes of the input, with ids and
 *      ledgers folded into a small domain
 *   2  the last entry again, with some bytes changed
 *   3  freeze an epoch, or release the frozen one
 */
#include "core/result.h"
#include "test_bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *next;
    size_t left;
};

struct fuzz {
    struct input input;
    struct test_bank bank;
    uint8_t *last; /* the last entry built or read, 64-aligned */
    size_t last_size;
    bool well_formed;
    uint32_t answer_count;
};

static void need(bool condition, const char *claim)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_command: broken: %s\n", claim);
    abort();
}

static uint8_t take_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->next++;
}

/* The rest of what is asked for stays as it is when the input ends. */
static void take_bytes(struct input *input, void *out, size_t size)
{
    size_t count = size < input->left ? size : input->left;
    memcpy(out, input->next, count);
    input->next += count;
    input->left -= count;
}

static void check_answer(void *context, uint32_t position, const struct answer *answer)
{
    struct fuzz *fuzz = context;
    need(position == fuzz->answer_count, "answers come in order, each once");
    fuzz->answer_count++;
    need(answer->outcome < OUTCOME_NOT_YET_SEEN, "an outcome of writes");
    if (fuzz->well_formed)
        need(answer->outcome != OUTCOME_MALFORMED, "a good check means no MALFORMED");
    if (answer->outcome != OUTCOME_EXECUTED)
        return;
    need(answer->event_count > 0, "an executed request has events");
    for (uint32_t i = 0; i < answer->event_count; i++)
        need(strcmp(result_name(answer->results[i]), "UNKNOWN") != 0, "results have names");
}

static void apply_last(struct fuzz *fuzz)
{
    struct machine *machine = fuzz->bank.machine;
    enum status status = command_check(fuzz->last, fuzz->last_size);
    if (status == STATUS_VERSION)
        return;
    struct command_cursor cursor;
    uint32_t expected = 0;
    if (command_cursor_init(&cursor, fuzz->last, fuzz->last_size) == STATUS_OK) {
        expected = cursor.request_count;
        if (!machine_room_for(machine, cursor.stamps_left, cursor.request_count)) {
            if (machine_is_frozen(machine))
                machine_release_epoch(machine);
            past_memory_checkpoint(&fuzz->bank.past, machine);
        }
    }
    fuzz->well_formed = status == STATUS_OK;
    fuzz->answer_count = 0;
    machine_apply(machine, machine_applied_index(machine) + 1, 1, fuzz->last, fuzz->last_size,
                  check_answer, fuzz);
    need(fuzz->answer_count == expected, "as many answers as requests");
}

static void step_raw(struct fuzz *fuzz)
{
    uint8_t size[2] = {0};
    take_bytes(&fuzz->input, size, sizeof size);
    fuzz->last_size = (size_t)size[0] | (size_t)size[1] << 8;
    memset(fuzz->last, 0, fuzz->last_size);
    take_bytes(&fuzz->input, fuzz->last, fuzz->last_size);
    if (fuzz->last_size >= 2) {
        fuzz->last[0] = COMMAND_VERSION;
        fuzz->last[1] = 0;
    }
    apply_last(fuzz);
}

static void fold_id(struct id128 *id)
{
    if (!id128_is_max(id))
        *id = id_of(id->bytes[0] % 8);
}

static void add_event(struct fuzz *fuzz, uint16_t operation)
{
    struct input *input = &fuzz->input;
    struct command_builder *builder = &fuzz->bank.builder;
    if (operation == OPERATION_CREATE_LEDGERS) {
        struct ledger_event event = ledger_of(1, "CNY", 2, "name");
        event.id = take_byte(input) % 4;
        if (take_byte(input) % 2 == 0)
            take_bytes(input, (uint8_t *)&event + sizeof event.id, 24);
        command_builder_event(builder, &event);
    } else if (operation == OPERATION_CREATE_ACCOUNTS) {
        struct account_event event = {.code = 1};
        take_bytes(input, &event, 48 + take_byte(input) % 17);
        fold_id(&event.id);
        event.ledger %= 4;
        command_builder_event(builder, &event);
    } else if (operation == OPERATION_CREATE_TRANSFERS) {
        struct transfer_event event = {.code = 1, .amount_low = 1};
        take_bytes(input, &event, 64);
        take_bytes(input, (uint8_t *)&event + 64, take_byte(input) % 65);
        event.id = id_of(event.id.bytes[0]);
        fold_id(&event.debit_account_id);
        fold_id(&event.credit_account_id);
        event.ledger %= 4;
        command_builder_event(builder, &event);
    } else {
        char uri[8];
        snprintf(uri, sizeof uri, "t:%u", take_byte(input) % 32);
        struct principal_event event = principal_of("name", uri, take_byte(input) % 7);
        if (take_byte(input) % 2 == 0)
            take_bytes(input, event.name, 16);
        command_builder_event(builder, &event);
    }
}

static void step_built(struct fuzz *fuzz)
{
    struct input *input = &fuzz->input;
    struct test_bank *bank = &fuzz->bank;
    bank->stamp = machine_stamp(bank->machine) + 1 + take_byte(input);
    uint8_t jump = take_byte(input);
    if (jump % 16 == 0)
        bank->stamp += jump * TEST_HOUR;
    command_builder_entry(&bank->builder, bank->stamp);
    uint32_t request_count = 1 + take_byte(input) % 4;
    for (uint32_t r = 0; r < request_count; r++) {
        uint16_t operation = (uint16_t)(1 + take_byte(input) % 5);
        uint64_t issued = bank->stamp;
        uint8_t shift = take_byte(input);
        if (shift % 8 == 0)
            take_bytes(input, &issued, sizeof issued);
        command_builder_request(&bank->builder, operation, take_byte(input) % 10,
                                take_byte(input) % 32, issued);
        if (operation == OPERATION_FENCE_REQUEST)
            continue;
        uint32_t event_count = 1 + take_byte(input) % 4;
        for (uint32_t e = 0; e < event_count; e++)
            add_event(fuzz, operation);
    }
    size_t size;
    const uint8_t *entry = command_builder_end(&bank->builder, &size);
    memcpy(fuzz->last, entry, size);
    fuzz->last_size = size;
    need(command_check(entry, size) == STATUS_OK, "a built entry is good");
    apply_last(fuzz);
}

static void step_changed(struct fuzz *fuzz)
{
    uint8_t count = take_byte(&fuzz->input) % 8;
    for (uint8_t i = 0; i < count && fuzz->last_size > 2; i++) {
        uint8_t place[3];
        memset(place, 0, sizeof place);
        take_bytes(&fuzz->input, place, sizeof place);
        size_t offset = ((size_t)place[0] | (size_t)place[1] << 8) % (fuzz->last_size - 2) + 2;
        fuzz->last[offset] = place[2];
    }
    apply_last(fuzz);
}

static void step_epoch(struct fuzz *fuzz)
{
    struct machine *machine = fuzz->bank.machine;
    if (machine_is_frozen(machine))
        machine_release_epoch(machine);
    else
        past_memory_take(&fuzz->bank.past, machine_freeze(machine));
}

static void check_books(struct fuzz *fuzz)
{
    struct test_bank *bank = &fuzz->bank;
    test_bank_check(bank);
    struct transfer_record record;
    for (uint64_t i = 0; i < machine_transfer_count(bank->machine); i++)
        need(machine_transfer_at(bank->machine, i, &record), "every sequence is found");
}

static void check_restore(struct fuzz *fuzz)
{
    struct test_bank *bank = &fuzz->bank;
    if (machine_is_frozen(bank->machine))
        machine_release_epoch(bank->machine);
    past_memory_checkpoint(&bank->past, bank->machine);
    struct machine_options options = test_bank_options(bank);
    struct ledger_past table = past_memory_table(&bank->past);
    struct machine *restored;
    need(machine_create(&options, &table, &restored) == STATUS_OK, "memory");
    need(past_memory_restore(&bank->past, restored) == STATUS_OK, "what was written is restored");
    uint8_t digests[2][16];
    machine_digest(bank->machine, digests[0]);
    machine_digest(restored, digests[1]);
    need(memcmp(digests[0], digests[1], 16) == 0, "the restored digest is equal");
    machine_destroy(restored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz fuzz = {.input = {.next = data, .left = size}};
    fuzz.last = aligned_alloc(64, 2 * ENTRY_SIZE_MAX);
    need(fuzz.last != NULL, "memory");
    test_bank_init(&fuzz.bank);
    uint8_t mode = take_byte(&fuzz.input);
    if ((mode & 1) != 0)
        test_bank_open_accounts(&fuzz.bank, 4);
    for (uint32_t steps = 0; fuzz.input.left > 0 && steps < 200; steps++) {
        switch (take_byte(&fuzz.input) % 4) {
        case 0:
            step_raw(&fuzz);
            break;
        case 1:
            step_built(&fuzz);
            break;
        case 2:
            step_changed(&fuzz);
            break;
        default:
            step_epoch(&fuzz);
        }
    }
    check_books(&fuzz);
    if ((mode & 2) != 0)
        check_restore(&fuzz);
    test_bank_deinit(&fuzz.bank);
    free(fuzz.last);
    return 0;
}
