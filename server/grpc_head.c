/*
 * Request headers. nghttp2 has judged their form (lower-case names, pseudo-headers first and once);
 * here the handful that gRPC gives a meaning is picked out and the rest only counted. What is wrong
 * with a request is remembered, and answered once its headers are complete, in one fixed order
 * (grpc_call_admit).
 */
#include "server/grpc_head.h"

#include "net/grpc_text.h"

#include <string.h>

void grpc_head_init(struct grpc_head *head)
{
    memset(head, 0, sizeof *head);
}

static bool is_text(const uint8_t *bytes, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(bytes, text, size) == 0;
}

/* "application/grpc", alone or followed by "+proto" or ";charset=...". */
static bool is_grpc(const uint8_t *value, size_t size)
{
    static const char type[] = "application/grpc";
    size_t type_size = sizeof type - 1;
    return size >= type_size && memcmp(value, type, type_size) == 0 &&
           (size == type_size || value[type_size] == '+' || value[type_size] == ';');
}

/* 1 to 8 digits, at most a day. */
static bool parse_max_age(const uint8_t *value, size_t size, uint32_t *out)
{
    uint32_t number = 0;
    if (size == 0 || size > 8)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(value[i] - '0');
    }
    *out = number;
    return number <= GRPC_MAX_AGE_MS_MAX;
}

void grpc_head_field(struct grpc_head *head, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size)
{
    if (head->too_large)
        return;
    /* Each of the three is far below 2^31: nghttp2 takes no field above 64 KiB. */
    head->size += (uint32_t)(name_size + value_size + 32);
    head->field_count++;
    if (head->size > GRPC_HEAD_SIZE_MAX || head->field_count > GRPC_HEAD_FIELDS_MAX) {
        head->too_large = true;
        return;
    }
    if (is_text(name, name_size, ":path")) {
        if (value_size <= GRPC_PATH_SIZE_MAX) {
            memcpy(head->path, value, value_size);
            head->path[value_size] = 0;
            head->path_size = (uint8_t)value_size;
        }
    } else if (is_text(name, name_size, ":method")) {
        head->is_post = is_text(value, value_size, "POST");
    } else if (is_text(name, name_size, "content-type")) {
        head->content_type_ok = is_grpc(value, value_size);
    } else if (is_text(name, name_size, "te")) {
        head->te_ok = is_text(value, value_size, "trailers");
    } else if (is_text(name, name_size, "grpc-encoding")) {
        head->encoding_refused = !is_text(value, value_size, "identity");
    } else if (is_text(name, name_size, "grpc-timeout")) {
        head->has_timeout = true;
        head->timeout_malformed = !grpc_timeout_parse(value, value_size, &head->timeout_ns);
    } else if (is_text(name, name_size, "tally-max-age-ms")) {
        head->max_age_malformed = !parse_max_age(value, value_size, &head->max_age_ms);
    } else if (is_text(name, name_size, "tally-durability")) {
        head->wants_both_sites = is_text(value, value_size, "both-sites");
        head->durability_refused |= !head->wants_both_sites;
    }
}
