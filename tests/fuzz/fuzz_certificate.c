/* A certificate out of any bytes: refused, or understood and written as the same bytes again. */
#include "replication/node/certificate_record.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[CERTIFICATE_SIZE_MAX];
    struct certificate_view view;
    uint8_t *bytes = malloc(size > 0 ? size : 1); /* not a byte of room behind them */
    if (!bytes)
        return 0;
    if (size > 0)
        memcpy(bytes, data, size);
    if (certificate_decode(bytes, size, &view) == STATUS_OK &&
        (certificate_encode(&view, again) != size || memcmp(again, bytes, size) != 0))
        abort();
    free(bytes);
    return 0;
}
