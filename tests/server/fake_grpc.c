#include "fake_grpc.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

const struct grpc_method *fake_method(const struct grpc_server *server, const char *path)
{
    for (uint32_t i = 0; i < server->method_count; i++)
        if (strcmp(server->methods[i].path, path) == 0)
            return &server->methods[i];
    cr_assert_fail("no method %s", path);
    return NULL;
}

const char *fake_trailer(const struct grpc_call *call, const char *name)
{
    for (uint32_t i = 0; i < call->trailer_count; i++)
        if (strcmp(call->trailer_names[i], name) == 0)
            return call->trailer_values[i];
    return NULL;
}

void fake_call_done(struct grpc_call *call)
{
    cr_assert(call->finished, "the call was never finished");
    for (uint32_t i = 0; i < FAKE_MESSAGES_MAX; i++)
        free(call->messages[i].bytes);
    memset(call, 0, sizeof *call);
}

void fake_call_gone(const struct grpc_method *method, struct grpc_call *call)
{
    call->gone = true;
    if (method->gone && !call->finished)
        method->gone(method->context, call);
}

void grpc_server_add(struct grpc_server *server, const struct grpc_method *method)
{
    cr_assert_lt(server->method_count, FAKE_METHODS_MAX);
    server->methods[server->method_count++] = *method;
}

const char *grpc_call_principal(const struct grpc_call *call)
{
    return call->principal;
}

uint64_t grpc_call_deadline_ns(const struct grpc_call *call)
{
    return call->deadline_ns;
}

bool grpc_call_wants_both_sites(const struct grpc_call *call)
{
    return call->wants_both_sites;
}

uint64_t grpc_call_max_age_ns(const struct grpc_call *call)
{
    return call->max_age_ns;
}

bool grpc_call_is_gone(const struct grpc_call *call)
{
    return call->gone;
}

void grpc_call_set_data(struct grpc_call *call, void *data)
{
    cr_assert_not(call->finished, "a finished call was used");
    call->data = data;
}

void *grpc_call_data(const struct grpc_call *call)
{
    return call->data;
}

void grpc_call_add_trailer(struct grpc_call *call, const char *name, const char *value)
{
    cr_assert_not(call->finished, "a finished call was used");
    cr_assert_lt(call->trailer_count, 8);
    cr_assert_leq(strlen(value), 127);
    strcpy(call->trailer_names[call->trailer_count], name);
    strcpy(call->trailer_values[call->trailer_count++], value);
}

uint8_t *grpc_call_reserve(struct grpc_call *call, size_t size)
{
    cr_assert_not(call->finished, "a finished call was used");
    cr_assert_not(call->reserved, "two answers");
    if (call->gone)
        return NULL;
    cr_assert_lt(call->message_count, FAKE_MESSAGES_MAX);
    struct fake_message *message = &call->messages[call->message_count];
    message->bytes = malloc(size ? size : 1);
    message->size = size;
    call->reserved = true;
    return message->bytes;
}

void grpc_call_send(struct grpc_call *call)
{
    cr_assert(call->reserved);
    call->reserved = false;
    call->message_count++;
}

void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message)
{
    cr_assert_not(call->finished, "finished twice");
    if (call->reserved)
        grpc_call_send(call);
    call->finished = true;
    call->code = code;
    snprintf(call->text, sizeof call->text, "%s", message ? message : "");
}
