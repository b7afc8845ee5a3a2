/* Server reflection from the descriptors that the build embedded, as a stock client asks. */
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptors.h"
#include "server/reflection.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

typedef Grpc__Reflection__V1__ServerReflectionRequest request_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse response_message;

#define CASE(name)  GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define GIVES(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name

static struct reflection *reflection;

static void setup(void)
{
    cr_assert_eq(reflection_create(proto_descriptors, proto_descriptors_size, &reflection),
                 STATUS_OK);
}

static void teardown(void)
{
    reflection_destroy(reflection);
}

TestSuite(reflection, .init = setup, .fini = teardown);

static response_message *ask(const request_message *request)
{
    uint8_t packed[512];
    size_t size = grpc__reflection__v1__server_reflection_request__pack(request, packed);
    size_t answer_size;
    enum status status;
    uint8_t *answer = reflection_answer(reflection, packed, size, &answer_size, &status);
    cr_assert_not_null(answer);
    cr_assert_eq(status, STATUS_OK);
    response_message *response =
        grpc__reflection__v1__server_reflection_response__unpack(NULL, answer_size, answer);
    cr_assert_not_null(response);
    free(answer);
    return response;
}

static response_message *ask_text(int question, const char *text)
{
    request_message request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.host = (char *)(uintptr_t) "here";
    request.message_request_case =
        (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)question;
    request.list_services = (char *)(uintptr_t)text; /* a union of texts */
    response_message *response = ask(&request);
    cr_expect_str_eq(response->valid_host, "here");
    cr_expect_str_eq(response->original_request->list_services, text);
    return response;
}

static void forget(response_message *response)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

Test(reflection, all_services_are_listed)
{
    response_message *response = ask_text(CASE(LIST_SERVICES), "");
    cr_assert_eq(response->message_response_case, GIVES(LIST_SERVICES_RESPONSE));
    static const char *const expected[] = {
        "tally.v1.Ledger", "tally.v1.Admin", "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"};
    size_t count = sizeof expected / sizeof expected[0];
    cr_expect_eq(response->list_services_response->n_service, count);
    for (size_t i = 0; i < count; i++) {
        bool found = false;
        for (size_t k = 0; k < response->list_services_response->n_service; k++)
            found |= strcmp(response->list_services_response->service[k]->name, expected[i]) == 0;
        cr_expect(found, "%s", expected[i]);
    }
    forget(response);
}

/* The file comes first, with everything it imports behind it, each once. */
static void expect_file(response_message *response, const char *name, size_t count)
{
    cr_assert_eq(response->message_response_case, GIVES(FILE_DESCRIPTOR_RESPONSE), "%s", name);
    Grpc__Reflection__V1__FileDescriptorResponse *files = response->file_descriptor_response;
    cr_expect_eq(files->n_file_descriptor_proto, count, "%s: %zu", name,
                 files->n_file_descriptor_proto);
    ProtobufCBinaryData *first = &files->file_descriptor_proto[0];
    /* FileDescriptorProto.name is field 1 and comes first. */
    cr_assert_gt(first->len, strlen(name) + 2);
    cr_expect_eq(first->data[0], 0x0a);
    cr_expect_eq(first->data[1], strlen(name));
    cr_expect_eq(memcmp(first->data + 2, name, strlen(name)), 0);
    forget(response);
}

Test(reflection, symbols_of_every_kind_are_found)
{
    static const char *const symbols[] = {
        "tally.v1.Ledger",      "tally.v1.Ledger.CreateTransfers",
        "tally.v1.NewTransfer", "tally.v1.NewTransfer.debit_account_id",
        "tally.v1.Result",      "tally.v1.EXCEEDS_CREDITS",
    };
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++)
        expect_file(ask_text(CASE(FILE_CONTAINING_SYMBOL), symbols[i]), "tally/v1/ledger.proto", 1);
    expect_file(ask_text(CASE(FILE_CONTAINING_SYMBOL), "tally.v1.Admin"), "tally/v1/admin.proto",
                2);
    expect_file(
        ask_text(CASE(FILE_CONTAINING_SYMBOL), "grpc.health.v1.HealthCheckResponse.ServingStatus"),
        "grpc/health/v1/health.proto", 1);
    expect_file(ask_text(CASE(FILE_BY_FILENAME), "tally/v1/admin.proto"), "tally/v1/admin.proto",
                2);
}

static void expect_error(response_message *response, enum grpc_code code)
{
    cr_assert_eq(response->message_response_case, GIVES(ERROR_RESPONSE));
    cr_expect_eq(response->error_response->error_code, (int)code);
    cr_expect_gt(strlen(response->error_response->error_message), 3);
    forget(response);
}

/* What is not there is said as NOT_FOUND inside an answer: the stream goes on. */
Test(reflection, unknown_names_are_not_found)
{
    expect_error(ask_text(CASE(FILE_CONTAINING_SYMBOL), "tally.v1.Nothing"), GRPC_NOT_FOUND);
    expect_error(ask_text(CASE(FILE_CONTAINING_SYMBOL), ""), GRPC_NOT_FOUND);
    expect_error(ask_text(CASE(FILE_CONTAINING_SYMBOL), "tally.v1"), GRPC_NOT_FOUND);
    expect_error(ask_text(CASE(FILE_BY_FILENAME), "ledger.proto"), GRPC_NOT_FOUND);
    expect_error(ask_text(CASE(ALL_EXTENSION_NUMBERS_OF_TYPE), "tally.v1.Account"), GRPC_NOT_FOUND);

    Grpc__Reflection__V1__ExtensionRequest extension;
    grpc__reflection__v1__extension_request__init(&extension);
    extension.containing_type = (char *)(uintptr_t) "tally.v1.Account";
    request_message request;
    grpc__reflection__v1__server_reflection_request__init(&request);
    request.message_request_case = CASE(FILE_CONTAINING_EXTENSION);
    request.file_containing_extension = &extension;
    expect_error(ask(&request), GRPC_NOT_FOUND);

    grpc__reflection__v1__server_reflection_request__init(&request);
    expect_error(ask(&request), GRPC_INVALID_ARGUMENT);
}

Test(reflection, garbage_is_refused)
{
    size_t size;
    enum status status;
    cr_expect_null(reflection_answer(reflection, (const uint8_t *)"\xff\xff", 2, &size, &status));
    cr_expect_eq(status, STATUS_INVALID);
}

/* Descriptors cut anywhere are refused or give a smaller set: never a read beyond the end. */
Test(reflection, cut_descriptors_are_survived)
{
    for (size_t size = 0; size < proto_descriptors_size; size += 97) {
        uint8_t *exact = malloc(size ? size : 1);
        memcpy(exact, proto_descriptors, size);
        struct reflection *cut = NULL;
        enum status status = reflection_create(exact, size, &cut);
        cr_expect(status == STATUS_INVALID || status == STATUS_OK);
        if (status == STATUS_OK)
            reflection_destroy(cut);
        free(exact);
    }
}
