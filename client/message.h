/*
 * Between the public structures and the messages of proto/tally/v1: the pieces that every group of
 * calls needs. Internal to libtally.
 */
#ifndef TALLY_CLIENT_MESSAGE_H
#define TALLY_CLIENT_MESSAGE_H

#include "client/call.h"

#include "tally/v1/ledger.pb-c.h"

/* Packs into malloc'ed memory and stores it in the request; TALLY_NO_MEMORY or TALLY_INVALID
 * (larger than a node accepts) with call->error. */
enum tally_status message_pack(const ProtobufCMessage *message, struct call_request *request);

/* Borrowed views for encoding. An all-zero id is an absent field. */
ProtobufCBinaryData message_id(const struct tally_id *id);
ProtobufCBinaryData message_optional_id(const struct tally_id *id);
void message_identity(const struct tally_identity *identity, Tally__V1__RequestIdentity *out);

/* Reading answers: false when the field has neither no nor 16 bytes. */
bool message_read_id(ProtobufCBinaryData bytes, struct tally_id *out);
void message_read_amount(const Tally__V1__Amount *amount, struct tally_amount *out);
/* Copies a string that fits, false otherwise. */
bool message_read_text(const char *text, char *out, size_t capacity);
bool message_read_ledger(const Tally__V1__LedgerInfo *info, struct tally_ledger *out);

/* Decodes the answer of any call that changes something; they all have one layout. `request->out`
 * is the array of results. */
enum tally_status message_decode_results(const struct call_request *request, const uint8_t *answer,
                                         size_t size, struct tally_error *error);
/* What an unreadable answer is called. */
enum tally_status message_malformed(struct tally_error *error, const char *what);

#endif
