/* The header fields of a request, as far as gRPC looks at them, and ours. Pure: no session, no
 * call.
 */
#ifndef TALLY_SERVER_GRPC_HEAD_H
#define TALLY_SERVER_GRPC_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sum of name, value and 32 for each field (RFC 9113, 6.5.2), and the number of fields. Counted
 * here because nghttp2 1.52 announces the first and enforces neither. */
#define GRPC_HEAD_SIZE_MAX   (16 * 1024)
#define GRPC_HEAD_FIELDS_MAX 64
#define GRPC_PATH_SIZE_MAX   127
/* Greatest tally-max-age-ms: a day. */
#define GRPC_MAX_AGE_MS_MAX 86400000u

struct grpc_head {
    uint32_t size, field_count;
    bool too_large; /* over one of the limits: the fields after it were not looked at */
    bool is_post, content_type_ok, te_ok, encoding_refused, has_timeout, timeout_malformed;
    bool max_age_malformed;
    bool wants_both_sites, durability_refused; /* tally-durability */
    uint64_t timeout_ns;
    uint32_t max_age_ms; /* tally-max-age-ms; 0 = none */
    uint8_t path_size;   /* 0 = none, or longer than any of ours */
    char path[GRPC_PATH_SIZE_MAX + 1];
};

void grpc_head_init(struct grpc_head *head);
void grpc_head_field(struct grpc_head *head, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size);

#endif
