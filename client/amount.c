/*
 * Amounts as text. A decimal string and an exponent become an integer of minor units and back, each
 * exactly; there is no rounding anywhere, so what does not fit is an error. Integers only: a binary
 * fraction cannot hold 0.10.
 */
#include "client/internal.h"

#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define U128_MAX (~(u128)0)

/* value * 10 + digit; false on overflow. */
static bool push_digit(u128 *value, unsigned digit)
{
    if (*value > (U128_MAX - digit) / 10)
        return false;
    *value = *value * 10 + digit;
    return true;
}

/* What a person probably meant by a byte that has no place in an amount. */
static const char *reason_for(char c)
{
    switch (c) {
    case '+':
    case '-':
        return "a sign; amounts are positive, debit and credit say the direction";
    case ',':
    case '\'':
    case '_':
        return "a separator; write digits and a decimal point only";
    case ' ':
    case '\t':
        return "a space";
    case 'e':
    case 'E':
        return "an exponent; write the number out";
    default:
        return "a character that is no digit";
    }
}

enum tally_status tally_amount_parse(const char *text, size_t size, uint32_t exponent,
                                     struct tally_amount *out, struct tally_error *out_error)
{
    char shown[EXCERPT_SIZE];
    u128 value = 0;
    size_t integer_count = 0;
    size_t decimal_count = 0;
    bool point = false;

    excerpt(text, size, shown);
    if (exponent > TALLY_EXPONENT_MAX)
        return error_set(out_error, TALLY_INVALID, "exponent %u is above %d", exponent,
                         TALLY_EXPONENT_MAX);
    if (size == 0)
        return error_set(out_error, TALLY_INVALID, "amount is empty");
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '.') {
            if (point)
                return error_set(out_error, TALLY_INVALID, "amount \"%s\" has two points", shown);
            point = true;
            continue;
        }
        if (c < '0' || c > '9')
            return error_set(out_error, TALLY_INVALID, "amount \"%s\" has %s", shown,
                             reason_for(c));
        if (point && ++decimal_count > exponent)
            return error_set(out_error, TALLY_INVALID,
                             "amount \"%s\" has too many decimals: the ledger's currency has %u",
                             shown, exponent);
        if (!point)
            integer_count++;
        if (!push_digit(&value, (unsigned)(c - '0')))
            return error_set(out_error, TALLY_INVALID, "amount \"%s\" passes 2^128 - 1 minor units",
                             shown);
    }
    if (integer_count == 0)
        return error_set(out_error, TALLY_INVALID, "amount \"%s\" has no digit before the point",
                         shown);
    if (point && decimal_count == 0)
        return error_set(out_error, TALLY_INVALID, "amount \"%s\" has no digit after the point",
                         shown);
    for (size_t i = decimal_count; i < exponent; i++) {
        if (!push_digit(&value, 0))
            return error_set(out_error, TALLY_INVALID, "amount \"%s\" passes 2^128 - 1 minor units",
                             shown);
    }
    out->low = (uint64_t)value;
    out->high = (uint64_t)(value >> 64);
    return TALLY_OK;
}

void tally_amount_format(const struct tally_amount *amount, uint32_t exponent,
                         char out[TALLY_AMOUNT_SIZE])
{
    u128 value = (u128)amount->high << 64 | amount->low;
    char digits[TALLY_AMOUNT_SIZE]; /* least significant first: at most 39, and a point */
    size_t count = 0;
    uint32_t decimals = exponent < TALLY_EXPONENT_MAX ? exponent : TALLY_EXPONENT_MAX;

    for (uint32_t i = 0; i < decimals; i++, value /= 10)
        digits[count++] = (char)('0' + (int)(value % 10));
    if (decimals > 0)
        digits[count++] = '.';
    do {
        digits[count++] = (char)('0' + (int)(value % 10));
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    out[count] = '\0';
}
