/*
 * Reflection. At start one walk over the embedded FileDescriptorSet notes of each file its name,
 * its imports and every symbol it defines: services with their methods, messages with fields,
 * nested types and enums. A question is then a search in a few hundred names, which nobody asks
 * often.
 *
 * The descriptors are protobuf themselves; of their many fields five matter here (name, package,
 * dependency, and the lists of types), so they are read by number rather than by generated code.
 */
#include "server/reflection.h"

#include "core/invariant.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define FILES_MAX   32
#define SYMBOLS_MAX 1024
#define SYMBOL_SIZE 160
/* Requests on one stream; a client that explores everything needs some dozens. */
#define REQUESTS_PER_CALL_MAX 1000

struct file {
    const uint8_t *bytes;
    size_t size;
    char name[SYMBOL_SIZE];
    char package[SYMBOL_SIZE];
    char imports[8][SYMBOL_SIZE];
    uint32_t import_count;
};

struct symbol {
    char name[SYMBOL_SIZE];
    uint16_t file;
    bool is_service;
};

struct reflection {
    struct file files[FILES_MAX];
    uint32_t file_count;
    struct symbol symbols[SYMBOLS_MAX];
    uint32_t symbol_count;
};

/* ---- reading descriptors ---- */

struct field {
    uint32_t number;
    const uint8_t *bytes; /* NULL unless length-delimited */
    size_t size;
};

static bool next_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* False at the end and, with *out_broken, where the bytes are no message. */
static bool next_field(const uint8_t **at, const uint8_t *end, struct field *out, bool *out_broken)
{
    uint64_t tag, value;
    if (*at >= end)
        return false;
    *out_broken = true;
    if (!next_varint(at, end, &tag))
        return false;
    *out = (struct field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case 0:
        if (!next_varint(at, end, &value))
            return false;
        break;
    case 1:
    case 5: {
        size_t size = (tag & 7) == 1 ? 8 : 4;
        if ((size_t)(end - *at) < size)
            return false;
        *at += size;
        break;
    }
    case 2:
        if (!next_varint(at, end, &value) || value > (uint64_t)(end - *at))
            return false;
        out->bytes = *at;
        out->size = value;
        *at += value;
        break;
    default:
        return false;
    }
    *out_broken = false;
    return true;
}

static bool copy_text(char *out, const struct field *field)
{
    if (!field->bytes || field->size >= SYMBOL_SIZE)
        return false;
    memcpy(out, field->bytes, field->size);
    out[field->size] = '\0';
    return true;
}

/* Field 1 of every descriptor is its name. */
static bool descriptor_name(const uint8_t *bytes, size_t size, char *out)
{
    const uint8_t *at = bytes;
    struct field field;
    bool broken = false;
    while (next_field(&at, bytes + size, &field, &broken))
        if (field.number == 1)
            return copy_text(out, &field);
    return false;
}

static bool add_symbol(struct reflection *reflection, const char *scope, const char *name,
                       bool is_service, const char **out_full)
{
    if (reflection->symbol_count == SYMBOLS_MAX)
        return false;
    struct symbol *symbol = &reflection->symbols[reflection->symbol_count];
    int size =
        snprintf(symbol->name, sizeof symbol->name, "%s%s%s", scope, *scope ? "." : "", name);
    if (size < 0 || (size_t)size >= sizeof symbol->name)
        return false;
    symbol->file = (uint16_t)reflection->file_count;
    symbol->is_service = is_service;
    reflection->symbol_count++;
    *out_full = symbol->name;
    return true;
}

/* What a descriptor of one kind contains that has a name of its own: field number, kind of child.
 */
enum descriptor_kind { DESCRIPTOR_MESSAGE, DESCRIPTOR_ENUM, DESCRIPTOR_SERVICE, DESCRIPTOR_LEAF };

static enum descriptor_kind child_kind(enum descriptor_kind parent, uint32_t number,
                                       bool *out_is_child)
{
    *out_is_child = true;
    if (parent == DESCRIPTOR_MESSAGE && number == 3) /* DescriptorProto.nested_type */
        return DESCRIPTOR_MESSAGE;
    if (parent == DESCRIPTOR_MESSAGE && number == 4) /* .enum_type */
        return DESCRIPTOR_ENUM;
    if (parent == DESCRIPTOR_MESSAGE && (number == 2 || number == 8)) /* .field, .oneof_decl */
        return DESCRIPTOR_LEAF;
    if (parent == DESCRIPTOR_SERVICE && number == 2) /* ServiceDescriptorProto.method */
        return DESCRIPTOR_LEAF;
    *out_is_child = false;
    return DESCRIPTOR_LEAF;
}

/* Adds a descriptor and what it contains. Depth is that of our own .proto files. */
static bool add_descriptor(struct reflection *reflection, enum descriptor_kind kind,
                           const char *scope, const struct field *descriptor)
{
    char name[SYMBOL_SIZE];
    const char *full;
    if (!descriptor->bytes || !descriptor_name(descriptor->bytes, descriptor->size, name))
        return false;
    if (!add_symbol(reflection, scope, name, kind == DESCRIPTOR_SERVICE, &full))
        return false;
    const uint8_t *at = descriptor->bytes, *end = at + descriptor->size;
    struct field field;
    bool broken = false;
    while (next_field(&at, end, &field, &broken)) {
        bool is_child;
        /* Values of an enum are siblings of the enum in protobuf's scoping. */
        bool is_value = kind == DESCRIPTOR_ENUM && field.number == 2;
        enum descriptor_kind child = child_kind(kind, field.number, &is_child);
        if (is_value && !add_descriptor(reflection, DESCRIPTOR_LEAF, scope, &field))
            return false;
        if (is_child && !add_descriptor(reflection, child, full, &field))
            return false;
    }
    return !broken;
}

static bool add_file(struct reflection *reflection, const struct field *descriptor)
{
    if (!descriptor->bytes || reflection->file_count == FILES_MAX)
        return false;
    struct file *file = &reflection->files[reflection->file_count];
    file->bytes = descriptor->bytes;
    file->size = descriptor->size;
    const uint8_t *at = file->bytes, *end = at + file->size;
    struct field field;
    bool broken = false;
    while (next_field(&at, end, &field, &broken)) { /* FileDescriptorProto */
        if (field.number == 1 && !copy_text(file->name, &field))
            return false;
        if (field.number == 2 && !copy_text(file->package, &field))
            return false;
        if (field.number != 3)
            continue;
        if (file->import_count == sizeof file->imports / sizeof file->imports[0] ||
            !copy_text(file->imports[file->import_count++], &field))
            return false;
    }
    at = file->bytes;
    while (!broken && next_field(&at, end, &field, &broken)) {
        enum descriptor_kind kind = field.number == 4   ? DESCRIPTOR_MESSAGE
                                    : field.number == 5 ? DESCRIPTOR_ENUM
                                    : field.number == 6 ? DESCRIPTOR_SERVICE
                                                        : DESCRIPTOR_LEAF;
        if (kind != DESCRIPTOR_LEAF && !add_descriptor(reflection, kind, file->package, &field))
            return false;
    }
    reflection->file_count++;
    return !broken;
}

enum status reflection_create(const uint8_t *descriptors, size_t size,
                              struct reflection **out_reflection)
{
    struct reflection *reflection = calloc(1, sizeof *reflection);
    if (!reflection)
        return STATUS_NO_MEMORY;
    const uint8_t *at = descriptors;
    struct field field;
    bool broken = false;
    while (next_field(&at, descriptors + size, &field, &broken))
        if (field.number == 1 && !add_file(reflection, &field))
            broken = true;
    if (broken || reflection->file_count == 0) {
        free(reflection);
        return STATUS_INVALID;
    }
    *out_reflection = reflection;
    return STATUS_OK;
}

void reflection_destroy(struct reflection *reflection)
{
    free(reflection);
}

/* ---- answering ---- */

struct file_list {
    ProtobufCBinaryData files[FILES_MAX];
    size_t count;
};

static const struct file *find_file(const struct reflection *reflection, const char *name)
{
    for (uint32_t i = 0; i < reflection->file_count; i++)
        if (strcmp(reflection->files[i].name, name) == 0)
            return &reflection->files[i];
    return NULL;
}

static const struct file *find_symbol(const struct reflection *reflection, const char *name)
{
    for (uint32_t i = 0; i < reflection->symbol_count; i++)
        if (strcmp(reflection->symbols[i].name, name) == 0)
            return &reflection->files[reflection->symbols[i].file];
    return NULL;
}

/* The file and, after it, everything it imports, each once. */
static void list_file(const struct reflection *reflection, const struct file *file,
                      struct file_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->files[i].data == file->bytes)
            return;
    invariant(list->count < FILES_MAX);
    /* protobuf-c has no const; it only reads when packing. */
    list->files[list->count].data = (uint8_t *)(uintptr_t)file->bytes;
    list->files[list->count++].len = file->size;
    for (uint32_t i = 0; i < file->import_count; i++) {
        const struct file *import = find_file(reflection, file->imports[i]);
        if (import)
            list_file(reflection, import, list);
    }
}

/* The parts of a response, on the stack while it is packed. */
struct parts {
    Grpc__Reflection__V1__FileDescriptorResponse files;
    struct file_list list;
    Grpc__Reflection__V1__ListServiceResponse services;
    Grpc__Reflection__V1__ServiceResponse service[FILES_MAX];
    Grpc__Reflection__V1__ServiceResponse *service_pointers[FILES_MAX];
    Grpc__Reflection__V1__ErrorResponse error;
    char error_text[SYMBOL_SIZE + 64];
};

static void answer_error(struct parts *parts, reflection_response *response, enum grpc_code code,
                         const char *words, const char *name)
{
    grpc__reflection__v1__error_response__init(&parts->error);
    snprintf(parts->error_text, sizeof parts->error_text, "%s: %.100s", words, name);
    parts->error.error_code = code;
    parts->error.error_message = parts->error_text;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response->error_response = &parts->error;
}

static void answer_file(const struct reflection *reflection, const struct file *file,
                        const char *name, struct parts *parts, reflection_response *response)
{
    if (!file) {
        answer_error(parts, response, GRPC_NOT_FOUND, "not found", name);
        return;
    }
    grpc__reflection__v1__file_descriptor_response__init(&parts->files);
    list_file(reflection, file, &parts->list);
    parts->files.file_descriptor_proto = parts->list.files;
    parts->files.n_file_descriptor_proto = parts->list.count;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response->file_descriptor_response = &parts->files;
}

static void answer_services(const struct reflection *reflection, struct parts *parts,
                            reflection_response *response)
{
    grpc__reflection__v1__list_service_response__init(&parts->services);
    size_t count = 0;
    for (uint32_t i = 0; i < reflection->symbol_count && count < FILES_MAX; i++) {
        if (!reflection->symbols[i].is_service)
            continue;
        grpc__reflection__v1__service_response__init(&parts->service[count]);
        parts->service[count].name = (char *)(uintptr_t)reflection->symbols[i].name;
        parts->service_pointers[count] = &parts->service[count];
        count++;
    }
    parts->services.service = parts->service_pointers;
    parts->services.n_service = count;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response->list_services_response = &parts->services;
}

static void answer_question(const struct reflection *reflection, const reflection_request *request,
                            struct parts *parts, reflection_response *response)
{
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(reflection, find_file(reflection, request->file_by_filename),
                    request->file_by_filename, parts, response);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(reflection, find_symbol(reflection, request->file_containing_symbol),
                    request->file_containing_symbol, parts, response);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_error(parts, response, GRPC_NOT_FOUND, "there are no extensions of",
                     request->file_containing_extension->containing_type);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_error(parts, response, GRPC_NOT_FOUND, "there are no extensions of",
                     request->all_extension_numbers_of_type);
        return;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(reflection, parts, response);
        return;
    default:
        answer_error(parts, response, GRPC_INVALID_ARGUMENT, "the request asks", "nothing");
        return;
    }
}

uint8_t *reflection_answer(const struct reflection *reflection, const uint8_t *message, size_t size,
                           size_t *out_size, enum status *out_status)
{
    reflection_request *request =
        grpc__reflection__v1__server_reflection_request__unpack(NULL, size, message);
    if (!request) {
        *out_status = STATUS_INVALID;
        return NULL;
    }
    struct parts *parts = calloc(1, sizeof *parts);
    uint8_t *bytes = NULL;
    if (parts) {
        reflection_response response;
        grpc__reflection__v1__server_reflection_response__init(&response);
        response.valid_host = request->host;
        response.original_request = request;
        answer_question(reflection, request, parts, &response);
        *out_size = grpc__reflection__v1__server_reflection_response__get_packed_size(&response);
        bytes = malloc(*out_size);
        if (bytes)
            grpc__reflection__v1__server_reflection_response__pack(&response, bytes);
    }
    free(parts);
    grpc__reflection__v1__server_reflection_request__free_unpacked(request, NULL);
    *out_status = bytes ? STATUS_OK : STATUS_NO_MEMORY;
    return bytes;
}

/* ---- the stream; its only state is how many questions were asked, kept as the call's data ---- */

static void stream_message(void *context, struct grpc_call *call, const uint8_t *message,
                           size_t size)
{
    struct reflection *reflection = context;
    uintptr_t asked = (uintptr_t)grpc_call_data(call) + 1;
    if (asked > REQUESTS_PER_CALL_MAX) {
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "too many questions on one stream");
        return;
    }
    grpc_call_set_data(call, (void *)asked);
    size_t answer_size;
    enum status status;
    uint8_t *answer = reflection_answer(reflection, message, size, &answer_size, &status);
    if (!answer) {
        grpc_call_finish(
            call, status == STATUS_INVALID ? GRPC_INVALID_ARGUMENT : GRPC_RESOURCE_EXHAUSTED,
            status == STATUS_INVALID ? "not a ServerReflectionRequest" : "out of memory");
        return;
    }
    uint8_t *room = grpc_call_reserve(call, answer_size);
    if (room) {
        memcpy(room, answer, answer_size);
        grpc_call_send(call);
    }
    free(answer);
}

static void stream_half_close(void *context, struct grpc_call *call)
{
    (void)context;
    grpc_call_finish(call, GRPC_OK, NULL);
}

static void stream_gone(void *context, struct grpc_call *call)
{
    (void)context;
    grpc_call_finish(call, GRPC_CANCELLED, "the client went away");
}

void reflection_register(struct reflection *reflection, struct grpc_server *server)
{
    static const char *const paths[] = {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct grpc_method method = {
            .path = paths[i],
            .client_streaming = true,
            .server_streaming = true,
            .message = stream_message,
            .half_close = stream_half_close,
            .gone = stream_gone,
            .context = reflection,
        };
        grpc_server_add(server, &method);
    }
}
