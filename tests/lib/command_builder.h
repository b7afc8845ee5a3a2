/*
 * Builds log entries for tests: the bytes a proposer would write, or nearly so.
 *
 *     struct command_builder builder;
 *     command_builder_init(&builder);
 *     command_builder_entry(&builder, stamp);
 *     command_builder_request(&builder, OPERATION_CREATE_ACCOUNTS, principal, nonce, issued_at_ns);
 *     command_builder_event(&builder, &account);
 *     bytes = command_builder_end(&builder, &size);
 *
 * The bytes belong to the builder and live until the next command_builder_entry(). Tests may spoil
 * them in place. Running out of room or memory ends the test process.
 */
#ifndef TALLY_TESTS_LIB_COMMAND_BUILDER_H
#define TALLY_TESTS_LIB_COMMAND_BUILDER_H

#include "core/command.h"

struct command_builder {
    uint8_t *bytes; /* capacity twice ENTRY_SIZE_MAX, so that too large entries can be built */
    size_t size;
    size_t request_offset; /* of the request being built; 0 = none */
};

void command_builder_init(struct command_builder *builder);
void command_builder_deinit(struct command_builder *builder);

void command_builder_entry(struct command_builder *builder, uint64_t stamp);
/* Begins a request; its digest is made of its content when it ends, so that equal requests have
 * equal digests. The nonce's 16 bytes are made of the number. */
void command_builder_request(struct command_builder *builder, uint16_t operation,
                             uint32_t principal, uint64_t nonce, uint64_t issued_at_ns);
/* Adds an event of the size that the request's operation has. */
void command_builder_event(struct command_builder *builder, const void *event);
uint8_t *command_builder_end(struct command_builder *builder, size_t *out_size);

/* The whole life of an entry with one request. */
uint8_t *command_builder_single(struct command_builder *builder, uint64_t stamp, uint16_t operation,
                                uint32_t principal, uint64_t nonce, uint64_t issued_at_ns,
                                const void *events, uint32_t event_count, size_t *out_size);

/* What command_builder_request() puts into the header. */
void nonce_of(uint64_t number, uint8_t out_nonce[16]);

/* ---- events with every field that is not asked for zero ---- */
struct id128 id_of(uint64_t number);
struct ledger_event ledger_of(uint32_t id, const char *currency, uint8_t exponent,
                              const char *name);
struct account_event account_of(uint64_t id, uint32_t ledger, uint16_t code, uint16_t flags);
/* Code 1. */
struct transfer_event transfer_of(uint64_t id, uint64_t debit, uint64_t credit, uint64_t amount,
                                  uint32_t ledger);
struct principal_event principal_of(const char *name, const char *uri, uint8_t role);

#endif
