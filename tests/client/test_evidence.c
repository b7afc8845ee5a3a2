/* Moments as people write them for `tally durability certificate`: read as written, or not at all.
 */
#include "client/cli/evidence.h"

#include <criterion/criterion.h>

TestSuite(evidence, .timeout = 10);

#define NS 1000000000ull

Test(evidence, a_moment_is_read_as_written_or_not_at_all)
{
    static const struct {
        const char *text;
        uint64_t ns; /* 0: refused */
    } rows[] = {
        {"2026-11-22T08:00:00Z", 1795334400 * NS},
        {"2026-11-22T09:00:00.5+01:00", 1795334400 * NS + NS / 2},
        {"2026-11-22T07:30:00-00:30", 1795334400 * NS},
        {"1795334400000000000", 1795334400 * NS},
        {"2028-02-29T00:00:00Z", 1835395200 * NS},
        {"2026-02-29T00:00:00Z", 0}, /* no such day: not another one instead */
        {"2026-02-31T08:00:00Z", 0},
        {"2026-04-31T23:59:00Z", 0},
        {"2026-11-22T08:00:00", 0}, /* no zone */
        {"2026-11-22", 0},
        {"1795334400", 0}, /* seconds */
        {"", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t ns = 0;
        cr_assert_eq(evidence_parse_time(rows[i].text, &ns), rows[i].ns != 0, "%s", rows[i].text);
        cr_assert_eq(ns, rows[i].ns, "%s: %lu", rows[i].text, (unsigned long)ns);
    }
}
