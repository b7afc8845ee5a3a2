/*
 * Which planted faults are on. Only a build with -Dplanted_fault=any has this file; it is the one
 * place in core that looks at the environment and at a clock, and both exist to be found out.
 *
 * The choice is read before main(), so that whatever program links core can be broken by its
 * environment alone: the daemon, the simulator, and each test. A name that is not there ends the
 * program: a matrix that plants nothing and finds nothing would look like a hole in the checkers.
 */
#include "core/planted_fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

uint64_t planted_faults;

#define PLANTED_NAME(name) #name,
static const char *const names[] = {PLANTED_FAULTS(PLANTED_NAME)};
_Static_assert(PLANTED_COUNT <= 64, "bits of planted_faults");

uint64_t planted_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void plant(const char *name, size_t size)
{
    for (size_t i = 0; i < PLANTED_COUNT; i++) {
        if (strlen(names[i]) == size && strncasecmp(names[i], name, size) == 0) {
            planted_faults |= UINT64_C(1) << i;
            return;
        }
    }
    fprintf(stderr,
            "TALLY_PLANTED: there is no fault \"%.*s\" to plant; core/planted_fault.h lists them\n",
            (int)size, name);
    exit(2);
}

__attribute__((constructor)) static void planted_read(void)
{
    const char *at = getenv("TALLY_PLANTED");
    while (at != NULL && *at != 0) {
        const size_t size = strcspn(at, ",");
        plant(at, size);
        at += size;
        at += *at == ',';
    }
}
