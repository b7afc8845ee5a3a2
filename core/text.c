/* Judging replicated texts byte by byte. No locale and no library: two nodes must agree for ever on
 * what is a name. */
#include "core/text.h"

/* Decodes one character of well-formed UTF-8; returns its size in bytes, or 0. */
static size_t utf8_decode(const uint8_t *bytes, size_t size, uint32_t *out_character)
{
    uint8_t first = bytes[0];
    if (first < 0x80) {
        *out_character = first;
        return 1;
    }
    size_t length;
    uint32_t character;
    uint32_t least; /* smaller ones have a shorter form, and only that is well formed */
    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
        character = first & 0x1fu;
        least = 0x80;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        character = first & 0x0fu;
        least = 0x800;
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        character = first & 0x07u;
        least = 0x10000;
    } else {
        return 0;
    }
    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (bytes[i] & 0x3fu);
    }
    if (character < least || character > 0x10ffff)
        return 0;
    if (character >= 0xd800 && character <= 0xdfff) /* halves of UTF-16 pairs */
        return 0;
    *out_character = character;
    return length;
}

bool text_is_name(const char *text, size_t size, size_t size_max)
{
    if (size == 0 || size > size_max)
        return false;
    const uint8_t *bytes = (const uint8_t *)text;
    for (size_t offset = 0; offset < size;) {
        uint32_t character = 0;
        size_t length = utf8_decode(bytes + offset, size - offset, &character);
        if (length == 0)
            return false;
        if (character < 0x20 || (character >= 0x7f && character <= 0x9f))
            return false;
        offset += length;
    }
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_scheme_character(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

bool text_is_uri(const char *text, size_t size, size_t size_max)
{
    if (size == 0 || size > size_max || !is_letter(text[0]))
        return false;
    size_t scheme = 1;
    while (scheme < size && is_scheme_character(text[scheme]))
        scheme++;
    if (scheme == size || text[scheme] != ':' || scheme + 1 == size)
        return false;
    for (size_t i = scheme + 1; i < size; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return false;
    }
    return true;
}

bool text_is_currency(const char text[4])
{
    for (size_t i = 0; i < 3; i++) {
        if (text[i] < 'A' || text[i] > 'Z')
            return false;
    }
    return text[3] == 0;
}

bool bytes_are_zero(const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++)
        any |= next[i];
    return any == 0;
}
