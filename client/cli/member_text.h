/*
 * Members as text: the flags that `tally node init --join` prints and `tally member add` takes, and
 * JSON. One reader for both the command line and the file `member` of a data directory.
 */
#ifndef TALLY_CLIENT_CLI_MEMBER_TEXT_H
#define TALLY_CLIENT_CLI_MEMBER_TEXT_H

#include "replication/member.h"

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>

/* 32 hex digits. */
bool member_hex(const char *text, uint8_t out[16]);
/* "data" or "witness", else argp_error(). */
enum member_kind member_kind(struct argp_state *state, const char *text);
const char *member_kind_name(enum member_kind kind);

/* "--node-id N --site S --kind K --address A --incarnation HEX" */
#define MEMBER_FLAGS_SIZE 320
void member_flags(const struct member *member, char out[MEMBER_FLAGS_SIZE]);
/* The inverse: one line, whitespace at its ends ignored, all flags once, in any order. False with
 * *out_reason, static. */
bool member_flags_parse(const char *text, struct member *out, const char **out_reason);
/* {"node_id", "site", "kind", "address", "incarnation"} */
json_t *member_json(const struct member *member);

#endif
