/* Rules for the few texts that are replicated: names, certificate URIs, currency codes. Pure. */
#ifndef TALLY_CORE_TEXT_H
#define TALLY_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 1 .. size_max bytes of well-formed UTF-8 (RFC 3629) without control characters. */
bool text_is_name(const char *text, size_t size, size_t size_max);

/* 1 .. size_max bytes: a scheme (letter, then letters, digits, "+-."), a colon, and at least one
 * more byte, all printable ASCII without space. */
bool text_is_uri(const char *text, size_t size, size_t size_max);

/* Three letters A-Z and a zero byte. */
bool text_is_currency(const char text[4]);

bool bytes_are_zero(const void *bytes, size_t size);

#endif
