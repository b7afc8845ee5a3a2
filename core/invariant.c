/* The one way a broken invariant ends the process: say what broke with its values, then abort. The
 * only file of core that writes anything anywhere, because nothing else may run afterwards. */
#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

_Noreturn void invariant_failed(const char *expression, const char *file, int line,
                                const char *function, uint64_t a, uint64_t b)
{
    fprintf(stderr,
            "invariant failed: %s at %s:%d in %s, values %" PRIu64 " and %" PRIu64
            ". The process stops rather than go on with a wrong state.\n",
            expression, file, line, function, a, b);
    abort();
}
