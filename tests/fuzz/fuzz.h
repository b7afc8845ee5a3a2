/* What fuzz targets share: claims that stop the run, and inputs without a byte of room behind. */
#ifndef TALLY_TESTS_FUZZ_H
#define TALLY_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define need(condition, claim) fuzz_need(condition, claim, __FILE__, __LINE__)

static inline void fuzz_need(bool condition, const char *claim, const char *file, int line)
{
    if (condition)
        return;
    fprintf(stderr, "%s:%d: broken: %s\n", file, line, claim);
    abort();
}

/* malloc'ed, 16-aligned: the address sanitizer sees each read behind the end. */
static inline uint8_t *fuzz_copy(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    need(copy != NULL, "memory");
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

/* The bytes up to the first zero byte, as a text. */
static inline char *fuzz_text(const void *bytes, size_t size)
{
    size_t length = size > 0 ? strnlen((const char *)bytes, size) : 0;
    char *text = malloc(length + 1);
    need(text != NULL, "memory");
    if (length > 0)
        memcpy(text, bytes, length);
    text[length] = '\0';
    return text;
}

static inline bool fuzz_same(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

#endif
