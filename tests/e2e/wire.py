"""Protobuf by hand, for messages that no proper encoder writes: wrong wire types, unknown fields,
lengths that point outside. Only what the tests need."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def tag(field, wire_type):
    return varint(field << 3 | wire_type)


def field_varint(field, number):
    return tag(field, VARINT) + varint(number)


def field_bytes(field, content):
    return tag(field, BYTES) + varint(len(content)) + content


def field_fixed64(field, number):
    return tag(field, FIXED64) + number.to_bytes(8, "little")


def field_fixed32(field, number):
    return tag(field, FIXED32) + number.to_bytes(4, "little")
