/*
 * Answers: messages, then trailers with the status.
 *
 *   headers (at the first message) ── DATA ... ── trailers: grpc-status, grpc-message, tally-*
 *   or all in one HEADERS frame, when there is no message (Trailers-Only)
 *
 * The answer's bytes are pulled by nghttp2 as the client's windows allow. When the last one has
 * gone, DATA ends with EOF but not END_STREAM, and the trailers are submitted from inside the pull:
 * this is nghttp2's order for trailers.
 *
 * Buffers are charged to the principal up to twice its bytes_per_principal_max: once for what it
 * sends and once for what it does not read. Beyond that an answer is dropped, the call ends with
 * UNAVAILABLE, and the client learns the outcome by repeating the request.
 */
#include "server/grpc_internal.h"

#include "core/invariant.h"
#include "net/grpc_text.h"

#include <stdio.h>
#include <string.h>

/* grpc-message, encoded: the text's size when nothing needs encoding, a third of it at worst. */
#define ENCODED_TEXT_MAX 1280
#define FIELDS_MAX       (5 + TRAILERS_MAX)

static nghttp2_nv field(const char *name, const char *value, size_t value_size)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = value_size,
        .flags = NGHTTP2_NV_FLAG_NONE, /* nghttp2 copies both */
    };
}

static nghttp2_nv text_field(const char *name, const char *value)
{
    return field(name, value, strlen(value));
}

static const char *code_text(enum grpc_code code)
{
    static const char *const texts[] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                        "9", "10", "11", "12", "13", "14", "15", "16"};
    invariant_values((size_t)code < sizeof texts / sizeof texts[0], code, 0);
    return texts[code];
}

void grpc_answer_trailer(struct grpc_call *call, const char *name, const char *value)
{
    size_t name_size = strlen(name);
    size_t value_size = strnlen(value, TRAILER_VALUE_MAX);
    invariant_values(name_size <= TRAILER_NAME_MAX, name_size, 0);
    invariant_values(call->trailer_count < TRAILERS_MAX, call->trailer_count, 0);
    invariant_values(call->trailers_size + name_size + value_size + 2 <= TRAILERS_SIZE_MAX,
                     call->trailers_size, name_size + value_size);
    char *out = call->trailers + call->trailers_size;
    memcpy(out, name, name_size + 1);
    out += name_size + 1;
    for (size_t i = 0; i < value_size; i++)
        out[i] = value[i] >= 0x20 && value[i] <= 0x7e ? value[i] : '?';
    out[value_size] = 0;
    call->trailer_count++;
    call->trailers_size += (uint32_t)(name_size + value_size + 2);
}

/* grpc-status and what follows it; encoded is scratch for the message. */
static size_t make_trailers(const struct grpc_call *call, nghttp2_nv *fields,
                            char encoded[ENCODED_TEXT_MAX])
{
    size_t count = 0;
    fields[count++] = text_field("grpc-status", code_text(call->code));
    if (call->text[0]) {
        size_t size = grpc_percent_encode(call->text, encoded, ENCODED_TEXT_MAX);
        fields[count++] = field("grpc-message", encoded, size);
    }
    const char *at = call->trailers;
    for (uint32_t i = 0; i < call->trailer_count; i++) {
        const char *name = at, *value = name + strlen(name) + 1;
        fields[count++] = text_field(name, value);
        at = value + strlen(value) + 1;
    }
    return count;
}

static void give_buffer(struct grpc_call *call, struct grpc_buffer *buffer)
{
    grpc_principal_give_buffer(call->server, call->principal, buffer);
}

void grpc_answer_give_buffers(struct grpc_call *call)
{
    while (call->answer_first) {
        struct grpc_buffer *buffer = call->answer_first;
        call->answer_first = buffer->next;
        give_buffer(call, buffer);
    }
    call->answer_last = NULL;
    call->answer_bytes = 0;
    call->answer_offset = 0;
    give_buffer(call, call->reserved);
    call->reserved = NULL;
}

/* A message that was rejected by nghttp2 for want of memory leaves a stream nobody would end. */
static void give_up(struct grpc_call *call)
{
    grpc_connection_cut(call->connection, NGHTTP2_INTERNAL_ERROR, "out of memory");
}

static ssize_t read_answer_cb(nghttp2_session *session, int32_t stream_id, uint8_t *out,
                              size_t capacity, uint32_t *flags, nghttp2_data_source *source,
                              void *context)
{
    (void)source;
    (void)context;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!call)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t size = 0;
    while (call->answer_first && size < capacity) {
        struct grpc_buffer *buffer = call->answer_first;
        size_t left = buffer->size - call->answer_offset;
        size_t part = left < capacity - size ? left : capacity - size;
        memcpy(out + size, buffer->bytes + call->answer_offset, part);
        size += part;
        call->answer_offset += (uint32_t)part;
        call->answer_bytes -= part;
        if (call->answer_offset < buffer->size)
            break;
        call->answer_first = buffer->next;
        if (!call->answer_first)
            call->answer_last = NULL;
        call->answer_offset = 0;
        give_buffer(call, buffer);
    }
    if (call->answer_first)
        return (ssize_t)size;
    if (!call->decided) {
        if (size > 0)
            return (ssize_t)size;
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    nghttp2_nv fields[FIELDS_MAX];
    char encoded[ENCODED_TEXT_MAX];
    size_t count = make_trailers(call, fields, encoded);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream_id, fields, count) != 0)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM(INTERNAL_ERROR) */
    return (ssize_t)size;
}

static void submit_headers(struct grpc_call *call)
{
    nghttp2_nv fields[] = {
        text_field(":status", "200"),
        text_field("content-type", "application/grpc"),
        text_field("grpc-accept-encoding", "identity"),
    };
    nghttp2_data_provider body = {.read_callback = read_answer_cb};
    call->started = true;
    if (nghttp2_submit_response(call->connection->session, call->stream_id, fields, 3, &body) != 0)
        give_up(call);
}

static void submit_trailers_only(struct grpc_call *call)
{
    nghttp2_nv fields[FIELDS_MAX] = {
        text_field(":status", "200"),
        text_field("content-type", "application/grpc"),
        text_field("grpc-accept-encoding", "identity"),
    };
    char encoded[ENCODED_TEXT_MAX];
    size_t count = 3 + make_trailers(call, fields + 3, encoded);
    call->started = true;
    if (nghttp2_submit_response(call->connection->session, call->stream_id, fields, count, NULL) !=
        0)
        give_up(call);
}

/* Something about the answer has changed: let nghttp2 look at it. */
static void kick(struct grpc_call *call)
{
    if (!call->started) {
        submit_headers(call);
    } else if (call->deferred) {
        call->deferred = false;
        if (nghttp2_session_resume_data(call->connection->session, call->stream_id) != 0)
            give_up(call);
    }
    grpc_connection_dirty(call->connection);
}

void grpc_answer_http_error(struct grpc_call *call, const char *status)
{
    nghttp2_nv fields[] = {text_field(":status", status)};
    call->decided = call->started = true;
    if (nghttp2_submit_response(call->connection->session, call->stream_id, fields, 1, NULL) != 0)
        give_up(call);
    grpc_connection_dirty(call->connection);
}

static void queue_reserved(struct grpc_call *call)
{
    struct grpc_buffer *buffer = call->reserved;
    if (!buffer)
        return;
    call->reserved = NULL;
    if (call->answer_last)
        call->answer_last->next = buffer;
    else
        call->answer_first = buffer;
    call->answer_last = buffer;
    call->answer_bytes += buffer->size;
}

void grpc_answer_decide(struct grpc_call *call, enum grpc_code code, const char *text)
{
    if (call->decided)
        return;
    call->decided = true;
    call->code = code;
    (void)snprintf(call->text, sizeof call->text, "%s", text ? text : ""); /* cut is fine */
    grpc_deadline_clear(call);
    if (code == GRPC_OK) {
        queue_reserved(call);
    } else {
        give_buffer(call, call->reserved);
        call->reserved = NULL;
    }
    if (!call->started && !call->answer_first) {
        submit_trailers_only(call);
        grpc_connection_dirty(call->connection);
    } else {
        kick(call);
    }
}

uint8_t *grpc_call_reserve(struct grpc_call *call, size_t size)
{
    invariant(call->handler_has);
    invariant_values(size <= UINT32_MAX - GRPC_PREFIX_SIZE, size, 0);
    if (call->decided)
        return NULL;
    give_buffer(call, call->reserved);
    call->reserved = NULL;
    if (call->answer_bytes > ANSWER_QUEUE_BYTES_MAX) {
        call->answer_lost = true; /* a watcher that does not read */
        return NULL;
    }
    struct grpc_buffer *buffer =
        grpc_principal_buffer(call->server, call->principal, size + GRPC_PREFIX_SIZE,
                              2 * call->server->limits.bytes_per_principal_max);
    if (!buffer) {
        call->answer_lost = true;
        return NULL;
    }
    buffer->size = (uint32_t)size + GRPC_PREFIX_SIZE;
    buffer->bytes[0] = 0; /* not compressed */
    buffer->bytes[1] = (uint8_t)(size >> 24);
    buffer->bytes[2] = (uint8_t)(size >> 16);
    buffer->bytes[3] = (uint8_t)(size >> 8);
    buffer->bytes[4] = (uint8_t)size;
    call->reserved = buffer;
    return buffer->bytes + GRPC_PREFIX_SIZE;
}

void grpc_call_send(struct grpc_call *call)
{
    invariant(call->handler_has);
    invariant(call->method->server_streaming);
    if (call->decided || !call->reserved)
        return;
    queue_reserved(call);
    kick(call);
}
