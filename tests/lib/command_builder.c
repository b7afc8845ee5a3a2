/* Building entries for tests, see command_builder.h. */
#include "command_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY (2 * (size_t)ENTRY_SIZE_MAX)

static void fail(const char *what)
{
    fprintf(stderr, "command_builder: %s\n", what);
    abort();
}

static void *grow(struct command_builder *builder, size_t size)
{
    if (builder->size + size > CAPACITY)
        fail("the entry is too large even for a test");
    void *place = builder->bytes + builder->size;
    memset(place, 0, size);
    builder->size += size;
    return place;
}

void command_builder_init(struct command_builder *builder)
{
    *builder = (struct command_builder){.bytes = aligned_alloc(64, CAPACITY)};
    if (builder->bytes == NULL)
        fail("out of memory");
}

void command_builder_deinit(struct command_builder *builder)
{
    free(builder->bytes);
    builder->bytes = NULL;
}

void command_builder_entry(struct command_builder *builder, uint64_t stamp)
{
    builder->size = 0;
    builder->request_offset = 0;
    struct entry_header *header = grow(builder, sizeof *header);
    header->version = COMMAND_VERSION;
    header->stamp = stamp;
}

static struct request_header *request_of(struct command_builder *builder)
{
    return (void *)(builder->bytes + builder->request_offset);
}

static void request_end(struct command_builder *builder)
{
    if (builder->request_offset == 0)
        return;
    struct request_header *request = request_of(builder);
    struct entry_header *header = (void *)builder->bytes;
    request->size = (uint32_t)(builder->size - builder->request_offset);
    header->event_count += request_stamp_count(request);

    /* Stands for SHA-256 here: four lanes of FNV-1a over operation, issue time and events. */
    uint64_t lane[4] = {1, 2, 3, 4};
    const uint8_t *events = (const uint8_t *)(request + 1);
    for (size_t l = 0; l < 4; l++) {
        uint64_t hash = 0xcbf29ce484222325u ^ lane[l];
        hash = (hash ^ request->operation) * 0x100000001b3u;
        hash = (hash ^ request->issued_at_ns) * 0x100000001b3u;
        for (size_t i = 0; i < request->size - sizeof *request; i++)
            hash = (hash ^ events[i]) * 0x100000001b3u;
        lane[l] = hash;
    }
    memcpy(request->digest, lane, sizeof request->digest);
    builder->request_offset = 0;
}

void nonce_of(uint64_t number, uint8_t out_nonce[16])
{
    uint64_t word[2] = {number, ~number};
    memcpy(out_nonce, word, sizeof word);
}

void command_builder_request(struct command_builder *builder, uint16_t operation,
                             uint32_t principal, uint64_t nonce, uint64_t issued_at_ns)
{
    request_end(builder);
    size_t offset = builder->size;
    struct request_header *request = grow(builder, sizeof *request);
    request->operation = operation;
    request->encoding = ANSWER_ENCODING;
    request->principal = principal;
    request->issued_at_ns = issued_at_ns;
    nonce_of(nonce, request->nonce);
    builder->request_offset = offset;
    ((struct entry_header *)(void *)builder->bytes)->request_count++;
}

void command_builder_event(struct command_builder *builder, const void *event)
{
    if (builder->request_offset == 0)
        fail("an event needs a request");
    size_t size = operation_event_size(request_of(builder)->operation);
    if (size == 0)
        fail("the operation has no events");
    memcpy(grow(builder, size), event, size);
    request_of(builder)->event_count++;
}

uint8_t *command_builder_end(struct command_builder *builder, size_t *out_size)
{
    request_end(builder);
    ((struct entry_header *)(void *)builder->bytes)->size = (uint32_t)builder->size;
    *out_size = builder->size;
    return builder->bytes;
}

uint8_t *command_builder_single(struct command_builder *builder, uint64_t stamp, uint16_t operation,
                                uint32_t principal, uint64_t nonce, uint64_t issued_at_ns,
                                const void *events, uint32_t event_count, size_t *out_size)
{
    command_builder_entry(builder, stamp);
    command_builder_request(builder, operation, principal, nonce, issued_at_ns);
    const uint8_t *next = events;
    for (uint32_t i = 0; i < event_count; i++)
        command_builder_event(builder, next + i * operation_event_size(operation));
    return command_builder_end(builder, out_size);
}

struct id128 id_of(uint64_t number)
{
    struct id128 id = {{0}};
    memcpy(id.bytes, &number, sizeof number);
    return id;
}

struct ledger_event ledger_of(uint32_t id, const char *currency, uint8_t exponent, const char *name)
{
    struct ledger_event event = {
        .id = id,
        .exponent = exponent,
        .name_size = (uint8_t)strlen(name),
    };
    memcpy(event.currency, currency, 3);
    memcpy(event.name, name, event.name_size);
    return event;
}

struct account_event account_of(uint64_t id, uint32_t ledger, uint16_t code, uint16_t flags)
{
    return (struct account_event){
        .id = id_of(id),
        .ledger = ledger,
        .code = code,
        .flags = flags,
    };
}

struct transfer_event transfer_of(uint64_t id, uint64_t debit, uint64_t credit, uint64_t amount,
                                  uint32_t ledger)
{
    return (struct transfer_event){
        .id = id_of(id),
        .debit_account_id = id_of(debit),
        .credit_account_id = id_of(credit),
        .amount_low = amount,
        .ledger = ledger,
        .code = 1,
    };
}

struct principal_event principal_of(const char *name, const char *uri, uint8_t role)
{
    struct principal_event event = {
        .role = role,
        .uri_size = (uint8_t)strlen(uri),
        .name_size = (uint8_t)strlen(name),
    };
    memcpy(event.name, name, event.name_size);
    memcpy(event.uri, uri, event.uri_size);
    return event;
}
