/*
 * The node's status document (GET /status) as people read it: what is wrong first, then groups with
 * units and ages. Knows the document's fields by name; what is missing is left out, and what it
 * does not know is only in the document itself (`--json`).
 */
#ifndef TALLY_CLIENT_CLI_STATUS_TEXT_H
#define TALLY_CLIENT_CLI_STATUS_TEXT_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* `now_ns`: this machine's clock since 1970, which the ages are counted from. `document` is
 * borrowed. Errors of the stream stay in the stream. */
void status_text_print(const json_t *document, uint64_t now_ns, FILE *out);

#define STATUS_TEXT_SIZE 32
/* "734 B", "64.0 MiB" */
const char *status_text_bytes(uint64_t bytes, char out[STATUS_TEXT_SIZE]);
/* "0 s", "5.8 ms", "12 s", "3 min 20 s", "2 h 5 min", "9 d 4 h" */
const char *status_text_duration(uint64_t duration_ns, char out[STATUS_TEXT_SIZE]);

#endif
