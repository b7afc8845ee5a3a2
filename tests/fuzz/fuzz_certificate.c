/* A certificate out of any bytes: refused, or understood and written as the same bytes again. As it
 * comes, and with the digest that fits to it. */
#include "replication/node/certificate_record.h"
#include "storage/hash.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *bytes, size_t size)
{
    static uint8_t again[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    if (certificate_decode(bytes, size, &view) == STATUS_OK &&
        (certificate_encode(&view, again) != size || memcmp(again, bytes, size) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size > 0 ? size : 1); /* not a byte of room behind them */
    if (!bytes)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    check(bytes, size);
    if (size > CERTIFICATE_DIGEST_SIZE) {
        const struct hash_part part = {.bytes = bytes, .size = size - CERTIFICATE_DIGEST_SIZE};
        hash_parts(&part, 1, bytes + part.size);
        check(bytes, size);
    }
    free(bytes);
    return 0;
}
