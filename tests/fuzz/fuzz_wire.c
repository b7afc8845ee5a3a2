/*
 * The wire decoder against protobuf-c on whatever libFuzzer thinks of. The first byte chooses the
 * message type, the rest is the message. A difference that is not one of the documented reasons for
 * being stricter stops the run (see tests/server/wire_reference.h).
 */
#include "core/command.h"
#include "server/wire.h"
#include "wire_reference.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool accepted = false;
    const uint8_t *message = data + 1;
    if (data[0] >= 252) {
        /* Changes of members: total; their meaning is compared in tests/server/test_wire_members.c.
         */
        struct wire_member_change change;
        struct wire_error error;
        (void)wire_decode_member_change((enum wire_member_change_kind)(data[0] - 252), message,
                                        size - 1, &change, &error);
        return 0;
    }
    uint16_t operation = (uint16_t)(OPERATION_CREATE_LEDGERS + data[0] % 6);
    const char *difference = operation <= OPERATION_SET_PRINCIPALS
                                 ? wire_reference_compare(operation, message, size - 1, &accepted)
                                 : wire_reference_compare_lookup(message, size - 1, &accepted);
    if (difference) {
        fprintf(stderr, "message type %u: %s\n", operation, difference);
        abort();
    }
    return 0;
}
