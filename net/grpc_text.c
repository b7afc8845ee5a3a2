/*
 * Percent-encoding of grpc-message and the grpc-timeout header ("PROTOCOL-HTTP2" of gRPC). Pure
 * functions; both are fed by strangers, so every byte is judged.
 */
#include "net/grpc_text.h"

#include <stdio.h>

size_t grpc_percent_encode(const char *text, char *out, size_t capacity)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t size = 0;
    while (*text == ' ')
        text++;
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte >= 0x20 && byte <= 0x7e && byte != '%') {
            if (capacity - size < 1)
                break;
            out[size++] = (char)byte;
        } else {
            if (capacity - size < 3)
                break;
            out[size++] = '%';
            out[size++] = digits[byte >> 4];
            out[size++] = digits[byte & 15];
        }
    }
    while (size > 0 && out[size - 1] == ' ') /* a text that was cut behind a word ends so */
        size--;
    return size;
}

static int hex_digit(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return -1;
}

void grpc_percent_decode(const uint8_t *text, size_t size, char *out, size_t capacity)
{
    size_t length = 0;
    for (size_t i = 0; i < size && length + 1 < capacity; i++) {
        uint8_t byte = text[i];
        if (byte == '%' && size - i > 2 && hex_digit(text[i + 1]) >= 0 &&
            hex_digit(text[i + 2]) >= 0) {
            byte = (uint8_t)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        }
        out[length++] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
    }
    out[length] = 0;
}

static uint64_t unit_ns(uint8_t unit)
{
    switch (unit) {
    case 'H':
        return 3600ull * 1000000000;
    case 'M':
        return 60ull * 1000000000;
    case 'S':
        return 1000000000;
    case 'm':
        return 1000000;
    case 'u':
        return 1000;
    case 'n':
        return 1;
    default:
        return 0;
    }
}

bool grpc_timeout_parse(const uint8_t *text, size_t size, uint64_t *out_ns)
{
    if (size < 2 || size > 9)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    uint64_t unit = unit_ns(text[size - 1]);
    if (unit == 0)
        return false;
    *out_ns = value > UINT64_MAX / unit ? UINT64_MAX : value * unit;
    return true;
}

void grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT_SIZE])
{
    static const char units[] = {'n', 'u', 'm', 'S', 'M', 'H'};
    if (ns == 0)
        ns = 1;
    for (size_t i = 0; i < sizeof units; i++) {
        uint64_t value = ns / unit_ns((uint8_t)units[i]);
        if (value <= 99999999 || i + 1 == sizeof units) {
            uint32_t digits = value <= 99999999 ? (uint32_t)value : 99999999;
            (void)snprintf(out, GRPC_TIMEOUT_TEXT_SIZE, "%u%c", digits % 100000000u,
                           units[i]); /* fits: at most 8 digits */
            return;
        }
    }
}
