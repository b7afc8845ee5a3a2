/*
 * Identifiers as text. Three spellings are read and one is written, so that an id copied from any
 * screen of ours can be pasted into any command. A run of exactly 32 digits is always hex: a
 * decimal number of 32 digits would be ambiguous, and the form that we print wins.
 */
#include "client/internal.h"

#include <openssl/evp.h>

#include <string.h>

__extension__ typedef unsigned __int128 u128;

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool parse_hex(const char *text, struct tally_id *out)
{
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool parse_uuid(const char *text, struct tally_id *out)
{
    char digits[32];
    size_t count = 0;
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash != (text[i] == '-'))
            return false;
        if (!dash)
            digits[count++] = text[i];
    }
    return parse_hex(digits, out);
}

/* False when a byte is no digit, or the number passes 2^128 - 1 (*out_overflow). */
static bool parse_decimal(const char *text, size_t size, struct tally_id *out, bool *out_overflow)
{
    u128 value = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        unsigned digit = (unsigned)(text[i] - '0');
        if (value > (~(u128)0 - digit) / 10) {
            *out_overflow = true;
            return false;
        }
        value = value * 10 + digit;
    }
    for (size_t i = 0; i < sizeof out->bytes; i++)
        out->bytes[i] = (uint8_t)(value >> (8 * (15 - i)));
    return true;
}

enum tally_status tally_id_parse(const char *text, size_t size, struct tally_id *out,
                                 struct tally_error *out_error)
{
    struct tally_id id;
    char shown[EXCERPT_SIZE];
    bool overflow = false;

    if (size == 0)
        return error_set(out_error, TALLY_INVALID, "id is empty");
    if (size > 5 && memcmp(text, "name:", 5) == 0) {
        uint8_t digest[32];
        if (!EVP_Q_digest(NULL, "SHA256", NULL, text + 5, size - 5, digest, NULL))
            return error_set(out_error, TALLY_SYSTEM, "SHA-256 is not available in libcrypto");
        memcpy(out->bytes, digest, sizeof out->bytes);
        return TALLY_OK;
    }
    if ((size == 32 && parse_hex(text, &id)) || (size == 36 && parse_uuid(text, &id)) ||
        (size != 32 && parse_decimal(text, size, &id, &overflow))) {
        *out = id;
        return TALLY_OK;
    }
    if (overflow)
        return error_set(out_error, TALLY_INVALID, "id \"%s\" is a number above 2^128 - 1",
                         excerpt(text, size, shown));
    return error_set(out_error, TALLY_INVALID,
                     "id \"%s\" is neither 32 hex digits, nor a UUID, nor a decimal number",
                     excerpt(text, size, shown));
}

void tally_id_format(const struct tally_id *id, char out[TALLY_ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        out[2 * i] = digits[id->bytes[i] >> 4];
        out[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    out[32] = '\0';
}
