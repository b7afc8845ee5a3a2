/*
 * What the files of libtally share and its users never see. Not installed.
 */
#ifndef TALLY_CLIENT_INTERNAL_H
#define TALLY_CLIENT_INTERNAL_H

#include "client/tally.h"

#include <stdarg.h>

/* Fills *error and returns `status`, so that a check ladder reads as one line each. `error` may be
 * NULL. Sets outcome NONE, no grpc code, not retryable. */
enum tally_status error_set(struct tally_error *error, enum tally_status status, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));
enum tally_status error_set_list(struct tally_error *error, enum tally_status status,
                                 const char *format, va_list list)
    __attribute__((format(printf, 3, 0)));

/* Quotes input for an error text: at most 40 bytes, what is not printable ASCII as '?', "..." when
 * cut. */
#define EXCERPT_SIZE 44
const char *excerpt(const char *text, size_t size, char out[EXCERPT_SIZE]);

#endif
