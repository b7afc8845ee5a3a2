/*
 * Reading a protobuf message by a table: the machinery behind wire.c, which holds the tables.
 */
#ifndef TALLY_SERVER_WIRE_MESSAGE_H
#define TALLY_SERVER_WIRE_MESSAGE_H

#include "server/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_kind {
    KIND_NONE, /* a number this message does not use */
    KIND_UINT8,
    KIND_UINT16,
    KIND_UINT32,
    KIND_UINT64,
    KIND_FIXED32,
    KIND_FIXED64,
    KIND_ID,       /* bytes: 16, or empty for the zero id */
    KIND_NONCE,    /* bytes: exactly 16 */
    KIND_TEXT,     /* string into char[limit], its size into the byte at `other` */
    KIND_CURRENCY, /* string of at most 3 into char[4] */
    KIND_SLICE,    /* string that stays in the message: struct wire_slice */
    KIND_IDENTITY, /* struct wire_identity */
    KIND_NESTED,   /* one message of simple values: struct wire_nested at `offset` */
    KIND_ELEMENTS, /* repeated message: struct wire_list at `offset` */
    KIND_IDS,      /* repeated bytes, counted: uint32_t at `offset` */
};

struct wire_field {
    const char *name;
    uint16_t kind;
    uint16_t offset;
    uint16_t other;
    uint16_t limit;
};

struct wire_message {
    const struct wire_field *fields; /* by field number; [0] unused */
    uint32_t field_count;            /* highest number + 1 */
};

struct wire_slice {
    const char *text;
    size_t size;
};

/* Where the values of a message inside a message go. */
struct wire_nested {
    const struct wire_message *message;
    void *target;
    bool given;
};

/* Where the elements of a repeated message go. */
struct wire_list {
    const struct wire_message *message;
    uint8_t *base;
    uint32_t stride;
    uint32_t count, count_max;
};

#define FIELD(name, kind, type, member)                                                            \
    {                                                                                              \
        name, kind, offsetof(type, member), 0, 0                                                   \
    }
#define TEXT(name, type, member, size_member, limit)                                               \
    {                                                                                              \
        name, KIND_TEXT, offsetof(type, member), offsetof(type, size_member), limit                \
    }
#define MESSAGE(fields)                                                                            \
    {                                                                                              \
        fields, sizeof(fields) / sizeof((fields)[0])                                               \
    }

/* ---- reading ---- */

/* What is being read, for the words of a refusal: "transfers[17]." or "identity.". */
struct wire_place {
    const char *list;
    uint32_t index;
    bool indexed;
};

struct wire_reader {
    const uint8_t *begin, *end;
    struct wire_error *error;
};

/* Clears *error; `message` may be NULL when `size` is 0. */
struct wire_reader wire_reader_of(const uint8_t *message, size_t size, struct wire_error *error);

/* Fills *error ("transfers[17].amount: words (at byte 1834)") and returns false. `place` and
 * `field` may be NULL. */
__attribute__((format(printf, 6, 7))) bool wire_refuse(const struct wire_reader *reader,
                                                       enum wire_fault fault, const uint8_t *at,
                                                       const struct wire_place *place,
                                                       const char *field, const char *format, ...);

/* Reads the whole message into `target`, zeroed except for its wire_list's and wire_nested's. */
bool wire_read_message(const struct wire_reader *reader, const struct wire_message *message,
                       void *target);

/* A length-delimited field of any number at the top level, for counting and walking. */
struct wire_piece {
    const uint8_t *at; /* of the tag */
    uint32_t number;
    const uint8_t *bytes; /* NULL when the field is of another type */
    size_t size;
};
/* Reads the field at `at` and returns what follows it, or NULL after refusing. */
const uint8_t *wire_next_piece(const struct wire_reader *reader, const uint8_t *at,
                               struct wire_piece *out);

#endif
