/* Messages about members: a message inside a message, read as protobuf-c reads it. */
#include "server/wire.h"
#include "tally/v1/admin.pb-c.h"

#include <criterion/criterion.h>
#include <string.h>

static size_t member_change_body(uint8_t *out)
{
    static uint8_t incarnation[16] = {1, 2, 3};
    Tally__V1__Member member = TALLY__V1__MEMBER__INIT;
    member.node_id = 300;
    member.site = (char *)(uintptr_t) "north-1";
    member.kind = TALLY__V1__MEMBER_KIND__WITNESS;
    member.incarnation = (ProtobufCBinaryData){.len = 16, .data = incarnation};
    member.address = (char *)(uintptr_t) "[fe80::1]:7402";
    Tally__V1__ReplaceMemberRequest request = TALLY__V1__REPLACE_MEMBER_REQUEST__INIT;
    request.old_node_id = 7;
    request.member = &member;
    request.force = true;
    return tally__v1__replace_member_request__pack(&request, out);
}

/* A message in a message arrives field by field. */
Test(wire_members, member_change_is_read)
{
    uint8_t body[512];
    struct wire_member_change change;
    struct wire_error error;
    size_t size = member_change_body(body);
    cr_assert_eq(wire_decode_member_change(WIRE_REPLACE_MEMBER, body, size, &change, &error),
                 STATUS_OK, "%s", error.text);
    cr_expect_eq(change.node_id, 7);
    cr_expect_eq(change.force, 1);
    cr_expect_eq(change.member.node_id, 300);
    cr_expect_eq(change.member.kind, 1);
    cr_expect_str_eq(change.member.site, "north-1");
    cr_expect_eq(change.member.site_size, 7);
    cr_expect_str_eq(change.member.address, "[fe80::1]:7402");
    cr_expect_eq(change.member.incarnation[2], 3);
    /* Of another kind of change it is not that message. */
    cr_expect_eq(wire_decode_member_change(WIRE_ADD_MEMBER, body, size, &change, &error),
                 STATUS_INVALID);
    cr_expect_eq(wire_decode_member_change(WIRE_REMOVE_MEMBER, NULL, 0, &change, &error),
                 STATUS_OK);
    cr_expect_eq(change.node_id, 0);
}

/* Every prefix and every changed byte: total, and whatever we accept protobuf-c reads the same. */
Test(wire_members, damaged_member_changes_are_read_as_protobuf_c_does, .timeout = 60)
{
    uint8_t body[512], damaged[512];
    size_t size = member_change_body(body);
    uint32_t accepted = 0;
    for (size_t at = 0; at < size; at++)
        for (int value = 0; value < 256; value++) {
            struct wire_member_change change;
            struct wire_error error;
            memcpy(damaged, body, size);
            damaged[at] = (uint8_t)value;
            size_t length = value == body[at] ? at : size; /* the byte as it was: cut there */
            if (wire_decode_member_change(WIRE_REPLACE_MEMBER, damaged, length, &change, &error) !=
                STATUS_OK)
                continue;
            accepted++;
            Tally__V1__ReplaceMemberRequest *other =
                tally__v1__replace_member_request__unpack(NULL, length, damaged);
            cr_assert_not_null(other, "byte %zu = %d", at, value);
            cr_expect_eq(change.node_id, other->old_node_id);
            cr_expect_eq(change.force != 0, other->force != 0);
            cr_expect_eq(change.member.node_id, other->member->node_id);
            cr_expect_eq(change.member.kind, other->member->kind);
            cr_expect_eq(memcmp(change.member.site, other->member->site, change.member.site_size),
                         0);
            tally__v1__replace_member_request__free_unpacked(other, NULL);
        }
    cr_expect_gt(accepted, 1000, "the test means something");
}
