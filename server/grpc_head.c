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
    }
}
