/*
 * Reading by table. One loop reads the fields of a message, each by the row that its number has in
 * the message's table. Depth is two at most (request, element), nothing recurses on what the client
 * sent, and every byte is looked at once. Everything hot is inline in this file: 8190 transfers
 * take about half a millisecond.
 */
#include "server/wire_message.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum wire_type { TYPE_VARINT = 0, TYPE_FIXED64 = 1, TYPE_BYTES = 2, TYPE_FIXED32 = 5 };

static const struct wire_field identity_fields[] = {
    [1] = FIELD("nonce", KIND_NONCE, struct wire_identity, nonce),
    [2] = FIELD("issued_at_ns", KIND_FIXED64, struct wire_identity, issued_at_ns),
};
static const struct wire_message identity_message = MESSAGE(identity_fields);

bool wire_refuse(const struct wire_reader *reader, enum wire_fault fault, const uint8_t *at,
                 const struct wire_place *place, const char *field, const char *format, ...)
{
    struct wire_error *error = reader->error;
    char index[16] = "";
    char words[120];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    if (place && place->indexed)
        snprintf(index, sizeof index, "[%" PRIu32 "]", place->index);
    error->fault = fault;
    error->offset = (size_t)(at - reader->begin);
    snprintf(error->text, sizeof error->text, "%s%s%s%s%s%s (at byte %zu)",
             place ? place->list : "", index, place && field ? "." : "", field ? field : "",
             place || field ? ": " : "", words, error->offset);
    return false;
}

/* Up to ten bytes; NULL when it does not end before `end` or is longer. Bits beyond the 64th are
 * reported in *out_overflow. */
static inline const uint8_t *read_varint(const uint8_t *at, const uint8_t *end, uint64_t *out,
                                         bool *out_overflow)
{
    uint64_t value = 0;
    for (unsigned shift = 0; at < end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63) {
            if (byte & 0x80)
                return NULL;
            *out_overflow |= byte > 1;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return at;
        }
    }
    return NULL;
}

/* A field as it lies in the message. */
struct wire_raw {
    const uint8_t *at; /* of the tag */
    uint32_t number;
    uint32_t type;
    uint64_t value;       /* TYPE_VARINT, TYPE_FIXED64, TYPE_FIXED32; length of TYPE_BYTES */
    const uint8_t *bytes; /* TYPE_BYTES */
    bool overflow;        /* the varint passes 64 bits */
};

/* Reads the field at `at` and returns what follows it, or NULL after refusing. */
static inline const uint8_t *read_raw(const struct wire_reader *reader, const uint8_t *at,
                                      const uint8_t *end, const struct wire_place *place,
                                      struct wire_raw *raw)
{
    uint64_t tag;
    bool tag_overflow = false;
    raw->at = at;
    raw->overflow = false;
    raw->bytes = NULL;
    const uint8_t *next = read_varint(at, end, &tag, &tag_overflow);
    if (!next || next - at > 5 || tag_overflow || tag > UINT32_MAX || tag >> 3 == 0) {
        wire_refuse(reader, WIRE_BAD_TAG, at, place, NULL, "no field can begin like this");
        return NULL;
    }
    raw->number = (uint32_t)(tag >> 3);
    raw->type = (uint32_t)(tag & 7);
    size_t left = (size_t)(end - next);
    switch (raw->type) {
    case TYPE_VARINT: {
        const uint8_t *after = read_varint(next, end, &raw->value, &raw->overflow);
        if (!after)
            wire_refuse(reader, left < 10 ? WIRE_TRUNCATED : WIRE_BAD_VARINT, at, place, NULL,
                        "the number of field %" PRIu32 " does not end", raw->number);
        return after;
    }
    case TYPE_FIXED64:
        if (left < 8)
            break;
        memcpy(&raw->value, next, 8);
        return next + 8;
    case TYPE_FIXED32: {
        uint32_t value;
        if (left < 4)
            break;
        memcpy(&value, next, 4);
        raw->value = value;
        return next + 4;
    }
    case TYPE_BYTES: {
        bool overflow = false;
        raw->bytes = read_varint(next, end, &raw->value, &overflow);
        /* Like a tag, a length has five bytes at most: what is longer no encoder writes. */
        if (!raw->bytes || raw->bytes - next > 5 || overflow ||
            raw->value > (uint64_t)(end - raw->bytes))
            break;
        return raw->bytes + raw->value;
    }
    default:
        wire_refuse(reader, WIRE_BAD_TAG, at, place, NULL,
                    "field %" PRIu32 " has wire type %" PRIu32 ", which no message here uses",
                    raw->number, raw->type);
        return NULL;
    }
    wire_refuse(reader, WIRE_TRUNCATED, at, place, NULL,
                "field %" PRIu32 " is longer than what is left of the message", raw->number);
    return NULL;
}

static const uint8_t kind_types[] = {
    [KIND_UINT8] = TYPE_VARINT,   [KIND_UINT16] = TYPE_VARINT,   [KIND_UINT32] = TYPE_VARINT,
    [KIND_UINT64] = TYPE_VARINT,  [KIND_FIXED32] = TYPE_FIXED32, [KIND_FIXED64] = TYPE_FIXED64,
    [KIND_ID] = TYPE_BYTES,       [KIND_NONCE] = TYPE_BYTES,     [KIND_TEXT] = TYPE_BYTES,
    [KIND_CURRENCY] = TYPE_BYTES, [KIND_SLICE] = TYPE_BYTES,     [KIND_IDENTITY] = TYPE_BYTES,
    [KIND_NESTED] = TYPE_BYTES,   [KIND_ELEMENTS] = TYPE_BYTES,  [KIND_IDS] = TYPE_BYTES,
};

static const char *type_name(uint32_t type)
{
    return type == TYPE_VARINT    ? "a varint"
           : type == TYPE_FIXED64 ? "64 fixed bits"
           : type == TYPE_FIXED32 ? "32 fixed bits"
                                  : "length-delimited";
}

static bool refuse_range(const struct wire_reader *reader, const struct wire_raw *raw,
                         const struct wire_place *place, const struct wire_field *field,
                         uint64_t high)
{
    if (raw->overflow)
        return wire_refuse(reader, WIRE_OUT_OF_RANGE, raw->at, place, field->name,
                           "more than 64 bits; at most %" PRIu64 " is allowed", high);
    return wire_refuse(reader, WIRE_OUT_OF_RANGE, raw->at, place, field->name,
                       "%" PRIu64 " is too large; at most %" PRIu64 " is allowed", raw->value,
                       high);
}

static bool refuse_length(const struct wire_reader *reader, const struct wire_raw *raw,
                          const struct wire_place *place, const struct wire_field *field,
                          const char *allowed)
{
    return wire_refuse(reader, WIRE_WRONG_LENGTH, raw->at, place, field->name,
                       "%" PRIu64 " bytes long; %s", raw->value, allowed);
}

/* One value of a simple kind into its place. */
static inline bool store_value(const struct wire_reader *reader, const struct wire_raw *raw,
                               const struct wire_place *place, const struct wire_field *field,
                               uint8_t *target)
{
    uint8_t *at = target + field->offset;
    switch ((enum wire_kind)field->kind) {
    case KIND_UINT8:
        if (raw->value > UINT8_MAX || raw->overflow)
            return refuse_range(reader, raw, place, field, UINT8_MAX);
        *at = (uint8_t)raw->value;
        return true;
    case KIND_UINT16: {
        uint16_t value = (uint16_t)raw->value;
        if (raw->value > UINT16_MAX || raw->overflow)
            return refuse_range(reader, raw, place, field, UINT16_MAX);
        memcpy(at, &value, sizeof value);
        return true;
    }
    case KIND_UINT32:
    case KIND_FIXED32: {
        uint32_t value = (uint32_t)raw->value;
        if (raw->value > UINT32_MAX || raw->overflow)
            return refuse_range(reader, raw, place, field, UINT32_MAX);
        memcpy(at, &value, sizeof value);
        return true;
    }
    case KIND_UINT64:
    case KIND_FIXED64:
        if (raw->overflow)
            return refuse_range(reader, raw, place, field, UINT64_MAX);
        memcpy(at, &raw->value, sizeof raw->value);
        return true;
    case KIND_ID:
        if (raw->value == 16)
            memcpy(at, raw->bytes, 16);
        else if (raw->value == 0)
            memset(at, 0, 16);
        else
            return refuse_length(reader, raw, place, field, "it must have 16, or none");
        return true;
    case KIND_NONCE:
        if (raw->value != 16)
            return refuse_length(reader, raw, place, field, "it must have 16");
        memcpy(at, raw->bytes, 16);
        ((struct wire_identity *)(void *)target)->nonce_given = true;
        return true;
    case KIND_TEXT:
        if (raw->value > field->limit)
            return wire_refuse(reader, WIRE_WRONG_LENGTH, raw->at, place, field->name,
                               "%" PRIu64 " bytes long; at most %u are allowed", raw->value,
                               (unsigned)field->limit);
        memset(at, 0, field->limit);
        memcpy(at, raw->bytes, raw->value);
        target[field->other] = (uint8_t)raw->value;
        return true;
    case KIND_CURRENCY:
        if (raw->value > 3)
            return refuse_length(reader, raw, place, field, "an ISO 4217 code has 3");
        memset(at, 0, 4);
        memcpy(at, raw->bytes, raw->value);
        return true;
    case KIND_SLICE: {
        struct wire_slice slice = {(const char *)raw->bytes, raw->value};
        memcpy(at, &slice, sizeof slice);
        return true;
    }
    case KIND_IDS: {
        uint32_t count;
        if (raw->value != 16 && raw->value != 0)
            return refuse_length(reader, raw, place, field, "an id must have 16");
        memcpy(&count, at, sizeof count);
        if (++count > REQUEST_EVENTS_MAX)
            return wire_refuse(reader, WIRE_TOO_MANY, raw->at, place, field->name,
                               "more than %d; ask in several calls", REQUEST_EVENTS_MAX);
        memcpy(at, &count, sizeof count);
        return true;
    }
    case KIND_NONE:
    case KIND_IDENTITY:
    case KIND_NESTED:
    case KIND_ELEMENTS:
        break;
    }
    invariant_values(false, field->kind, field->offset);
    return false;
}

/* The table's row of a raw field, or NULL after refusing it. */
static inline const struct wire_field *find_field(const struct wire_reader *reader,
                                                  const struct wire_message *message,
                                                  const struct wire_raw *raw,
                                                  const struct wire_place *place)
{
    if (raw->number >= message->field_count || message->fields[raw->number].kind == KIND_NONE) {
        wire_refuse(reader, WIRE_UNKNOWN_FIELD, raw->at, place, NULL,
                    "unknown field %" PRIu32 "; this version does not understand the message",
                    raw->number);
        return NULL;
    }
    const struct wire_field *field = &message->fields[raw->number];
    if (kind_types[field->kind] != raw->type) {
        wire_refuse(reader, WIRE_WRONG_TYPE, raw->at, place, field->name,
                    "encoded as %s; it must be %s", type_name(raw->type),
                    type_name(kind_types[field->kind]));
        return NULL;
    }
    return field;
}

/* A message that holds simple values only. */
static bool read_flat(const struct wire_reader *reader, const struct wire_message *message,
                      const uint8_t *at, const uint8_t *end, const struct wire_place *place,
                      uint8_t *target)
{
    while (at < end) {
        struct wire_raw raw;
        at = read_raw(reader, at, end, place, &raw);
        if (!at)
            return false;
        const struct wire_field *field = find_field(reader, message, &raw, place);
        if (!field || !store_value(reader, &raw, place, field, target))
            return false;
    }
    return true;
}

static bool read_identity(const struct wire_reader *reader, const struct wire_raw *raw,
                          struct wire_identity *identity)
{
    struct wire_place place = {.list = "identity"};
    if (identity->given)
        return wire_refuse(reader, WIRE_REPEATED, raw->at, &place, NULL, "given twice");
    identity->given = true;
    return read_flat(reader, &identity_message, raw->bytes, raw->bytes + raw->value, &place,
                     (uint8_t *)identity);
}

static bool read_nested(const struct wire_reader *reader, const struct wire_raw *raw,
                        const struct wire_field *field, struct wire_nested *nested)
{
    struct wire_place place = {.list = field->name};
    if (nested->given)
        return wire_refuse(reader, WIRE_REPEATED, raw->at, &place, NULL, "given twice");
    nested->given = true;
    return read_flat(reader, nested->message, raw->bytes, raw->bytes + raw->value, &place,
                     nested->target);
}

static bool read_element(const struct wire_reader *reader, const struct wire_raw *raw,
                         const struct wire_field *field, struct wire_list *list)
{
    struct wire_place place = {.list = field->name, .index = list->count, .indexed = true};
    invariant_values(list->count < list->count_max, list->count, list->count_max);
    uint8_t *target = list->base + (size_t)list->count * list->stride;
    memset(target, 0, list->stride);
    list->count++;
    return read_flat(reader, list->message, raw->bytes, raw->bytes + raw->value, &place, target);
}

/* A whole message: simple values, the identity, a nested message and elements. */
bool wire_read_message(const struct wire_reader *reader, const struct wire_message *message,
                       void *target)
{
    for (const uint8_t *at = reader->begin; at < reader->end;) {
        struct wire_raw raw;
        bool fine;
        at = read_raw(reader, at, reader->end, NULL, &raw);
        if (!at)
            return false;
        const struct wire_field *field = find_field(reader, message, &raw, NULL);
        if (!field)
            return false;
        uint8_t *place = (uint8_t *)target + field->offset;
        if (field->kind == KIND_IDENTITY)
            fine = read_identity(reader, &raw, (struct wire_identity *)(void *)place);
        else if (field->kind == KIND_NESTED)
            fine = read_nested(reader, &raw, field, (struct wire_nested *)(void *)place);
        else if (field->kind == KIND_ELEMENTS)
            fine = read_element(reader, &raw, field, (struct wire_list *)(void *)place);
        else
            fine = store_value(reader, &raw, NULL, field, target);
        if (!fine)
            return false;
    }
    return true;
}

struct wire_reader wire_reader_of(const uint8_t *message, size_t size, struct wire_error *error)
{
    static const uint8_t nothing;
    memset(error, 0, sizeof *error);
    if (size == 0)
        message = &nothing;
    return (struct wire_reader){.begin = message, .end = message + size, .error = error};
}

const uint8_t *wire_next_piece(const struct wire_reader *reader, const uint8_t *at,
                               struct wire_piece *out)
{
    struct wire_raw raw;
    const uint8_t *next = read_raw(reader, at, reader->end, NULL, &raw);
    if (next)
        *out = (struct wire_piece){raw.at, raw.number, raw.bytes, raw.bytes ? raw.value : 0};
    return next;
}
