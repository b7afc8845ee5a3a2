/* Durability entries: each has one encoding, and nothing else is one. */
#include "replication/durability_entry.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(durability_entry, .timeout = 30);

static struct durability_entry example(void)
{
    struct durability_entry entry;
    durability_entry_default(&entry);
    entry.kind = DURABILITY_DEGRADE;
    entry.mode = DURABILITY_DEGRADED;
    entry.number = 7;
    entry.stamp = 0x1122334455667788u;
    strcpy(entry.site, "B");
    entry.policy.decision = DURABILITY_OPERATOR;
    entry.policy.on_bound = DURABILITY_REFUSE;
    entry.policy.degraded_seconds_max = 3600;
    entry.policy.degraded_value_max = 123456789012345u;
    strcpy(entry.policy.preferred_site, "A");
    strcpy(entry.policy.drained_site, "B");
    strcpy(entry.released_site, "C");
    entry.automatic = true;
    strcpy(entry.who, "anna@bank.example");
    strcpy(entry.why, "power off for the new batteries, ticket 4711");
    return entry;
}

/* The documented places of a few fields, byte by byte. */
Test(durability_entry, has_the_documented_layout)
{
    const struct durability_entry entry = example();
    uint8_t bytes[DURABILITY_ENTRY_SIZE];
    cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
    cr_assert_arr_eq(bytes, ((uint8_t[]){1, 1, 1, 2, 1, 1, 0, 0, 7, 0}), 10);
    cr_assert_arr_eq(bytes + 16, ((uint8_t[]){0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11}), 8);
    cr_assert_arr_eq(bytes + 24, ((uint8_t[]){0xe8, 3, 0, 0, 80, 0, 0, 0, 0x2c, 1, 0, 0}), 12);
    cr_assert_arr_eq(bytes + 48, ((uint8_t[]){0x10, 0x0e, 0, 0, 0, 0, 0, 0}), 8);
    cr_assert_arr_eq(bytes + 64, ((uint8_t[]){'B', 0}), 2);
    cr_assert_arr_eq(bytes + 80, ((uint8_t[]){'A', 0}), 2);
    cr_assert_arr_eq(bytes + 96, ((uint8_t[]){'B', 0}), 2);
    cr_assert_arr_eq(bytes + 112, ((uint8_t[]){'C', 0}), 2);
    cr_assert_str_eq((char *)bytes + 128, entry.who);
    cr_assert_str_eq((char *)bytes + 256, entry.why);
}

/* Every kind, the longest texts, every decision: what is decoded is what was encoded. */
Test(durability_entry, that_is_decoded_is_the_one_that_was_encoded)
{
    const struct {
        enum durability_kind kind;
        enum durability_mode mode;
    } kinds[] = {{DURABILITY_DEGRADE, DURABILITY_DEGRADED},
                 {DURABILITY_RETURN, DURABILITY_SYNC},
                 {DURABILITY_POLICY, DURABILITY_SYNC},
                 {DURABILITY_POLICY, DURABILITY_DEGRADED},
                 {DURABILITY_RELEASE, DURABILITY_DEGRADED}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        for (int decision = DURABILITY_AUTO; decision <= DURABILITY_OPERATOR; decision++) {
            struct durability_entry entry = example();
            entry.kind = kinds[i].kind;
            entry.mode = kinds[i].mode;
            entry.policy.decision = (enum durability_decision)decision;
            memset(entry.site, 'Z', MEMBER_SITE_SIZE_MAX);
            strcpy(entry.released_site, entry.site);
            entry.automatic = decision == DURABILITY_AUTO;
            memset(entry.who, 'w', DURABILITY_WHO_SIZE_MAX);
            memset(entry.why, 'y', DURABILITY_WHY_SIZE_MAX);
            uint8_t bytes[DURABILITY_ENTRY_SIZE];
            cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
            struct durability_entry decoded = {0};
            cr_assert_eq(durability_entry_decode(bytes, sizeof bytes, &decoded), STATUS_OK);
            cr_assert_eq(decoded.kind, entry.kind);
            cr_assert_eq(decoded.mode, entry.mode);
            cr_assert_eq(decoded.number, entry.number);
            cr_assert_eq(decoded.stamp, entry.stamp);
            cr_assert_eq(decoded.policy.decision, entry.policy.decision);
            cr_assert_eq(decoded.policy.changes_per_hour_max, entry.policy.changes_per_hour_max);
            cr_assert_eq(decoded.policy.degraded_value_max, entry.policy.degraded_value_max);
            cr_assert_str_eq(decoded.site, entry.site);
            cr_assert_eq(decoded.automatic, entry.automatic);
            cr_assert_str_eq(decoded.released_site, entry.released_site);
            cr_assert_str_eq(decoded.who, entry.who);
            cr_assert_str_eq(decoded.why, entry.why);
            uint8_t again[DURABILITY_ENTRY_SIZE];
            cr_assert_eq(durability_entry_encode(&decoded, again), STATUS_OK);
            cr_assert_arr_eq(again, bytes, sizeof again);
        }
    }
}

/* Whatever byte is changed to whatever value: it is refused, or it encodes to the very same bytes.
 */
Test(durability_entry, has_one_encoding)
{
    const struct durability_entry entry = example();
    uint8_t good[DURABILITY_ENTRY_SIZE], bytes[DURABILITY_ENTRY_SIZE], again[DURABILITY_ENTRY_SIZE];
    cr_assert_eq(durability_entry_encode(&entry, good), STATUS_OK);
    unsigned refused = 0, newer = 0;
    for (size_t at = 0; at < sizeof good; at++) {
        for (unsigned value = 0; value < 256; value++) {
            memcpy(bytes, good, sizeof good);
            bytes[at] = (uint8_t)value;
            struct durability_entry decoded = {0};
            enum status status = durability_entry_decode(bytes, sizeof bytes, &decoded);
            if (status != STATUS_OK) {
                refused++;
                newer += status == STATUS_VERSION;
                continue;
            }
            cr_assert_eq(durability_entry_encode(&decoded, again), STATUS_OK);
            cr_assert_arr_eq(again, bytes, sizeof again, "byte %zu = %u", at, value);
        }
    }
    cr_assert_eq(newer, 254, "versions 2 to 255");
    cr_assert_gt(refused, 200u * 255, "of the zeros behind texts alone there are more than 200");
}

/* Shorter, longer, empty. */
Test(durability_entry, has_one_size)
{
    const struct durability_entry entry = example();
    uint8_t bytes[DURABILITY_ENTRY_SIZE + 8] = {0};
    cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
    struct durability_entry decoded;
    for (size_t size = 0; size <= sizeof bytes; size++)
        cr_assert_eq(durability_entry_decode(bytes, size, &decoded),
                     size == DURABILITY_ENTRY_SIZE ? STATUS_OK : STATUS_INVALID, "%zu", size);
}

/* A mode that does not fit the kind; nobody; no reason; no site; control characters; no UTF-8. */
Test(durability_entry, says_who_and_why_and_where)
{
    uint8_t bytes[DURABILITY_ENTRY_SIZE];
#define REFUSED(change)                                                                            \
    do {                                                                                           \
        struct durability_entry entry = example();                                                 \
        change;                                                                                    \
        cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_INVALID, "%s", #change);       \
    } while (0)
    REFUSED(entry.mode = DURABILITY_SYNC);
    REFUSED(entry.kind = DURABILITY_RETURN);
    REFUSED(entry.kind = DURABILITY_NONE);
    REFUSED((entry.kind = DURABILITY_POLICY, entry.mode = (enum durability_mode)2));
    REFUSED(entry.kind = DURABILITY_RELEASE);
    REFUSED(entry.number = 0);
    REFUSED(strcpy(entry.released_site, "a b"));
    REFUSED(entry.who[0] = 0);
    REFUSED(entry.why[0] = 0);
    REFUSED(entry.site[0] = 0);
    REFUSED(strcpy(entry.site, "a b"));
    REFUSED(strcpy(entry.who, "an\nna"));
    REFUSED(strcpy(entry.why, "\xc3("));
    REFUSED(memset(entry.why, 'y', sizeof entry.why));
    REFUSED(memset(entry.who, 'w', sizeof entry.who));
    REFUSED(memset(entry.site, 'Z', sizeof entry.site));
#undef REFUSED
}

/* Each field just outside of its range, and what is said of it. */
Test(durability_entry, refuses_a_policy_outside_of_its_ranges)
{
#define REFUSED(change, word)                                                                      \
    do {                                                                                           \
        struct durability_policy policy = example().policy;                                        \
        const char *reason = "";                                                                   \
        cr_assert_eq(durability_policy_check(&policy, &reason), STATUS_OK);                        \
        change;                                                                                    \
        cr_assert_eq(durability_policy_check(&policy, &reason), STATUS_INVALID, "%s", #change);    \
        cr_assert(strstr(reason, word) != NULL, "%s: %s", #change, reason);                        \
        struct durability_entry entry = example();                                                 \
        entry.policy = policy;                                                                     \
        uint8_t bytes[DURABILITY_ENTRY_SIZE];                                                      \
        cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_INVALID);                      \
    } while (0)
    REFUSED(policy.decision = (enum durability_decision)3, "decision");
    REFUSED(policy.degrade_after_ms = 199, "degrade_after_ms");
    REFUSED(policy.degrade_after_ms = 600001, "degrade_after_ms");
    REFUSED(policy.grace_ms = 10001, "grace_ms");
    REFUSED(policy.lag_ms = 0, "lag_ms");
    REFUSED(policy.lag_ms = 60001, "lag_ms");
    REFUSED(policy.resync_dwell_ms = 3600001, "resync_dwell_ms");
    REFUSED(policy.dwell_min_ms = 3600001, "dwell_min_ms");
    REFUSED(policy.changes_per_hour_max = 1, "changes_per_hour_max");
    REFUSED(policy.changes_per_hour_max = 3601, "changes_per_hour_max");
    REFUSED(policy.on_bound = (enum durability_on_bound)2, "on_bound");
    REFUSED(strcpy(policy.preferred_site, "a/b"), "preferred_site");
    REFUSED(strcpy(policy.drained_site, "a/b"), "drained_site");
    REFUSED(strcpy(policy.drained_site, "A"), "drained");
#undef REFUSED
}

/* Nothing in the log: synchronous, automatic, with the documented times. */
Test(durability_entry, default_is_synchronous_and_automatic)
{
    struct durability_entry entry;
    durability_entry_default(&entry);
    const char *reason = "";
    cr_assert_eq(entry.number, 0);
    cr_assert_eq(entry.mode, DURABILITY_SYNC);
    cr_assert_eq(entry.policy.decision, DURABILITY_AUTO);
    cr_assert_eq(entry.policy.degrade_after_ms, 1000);
    cr_assert_eq(entry.policy.grace_ms, 80);
    cr_assert_eq(entry.policy.lag_ms, 300);
    cr_assert_eq(durability_policy_check(&entry.policy, &reason), STATUS_OK, "%s", reason);
}

/* What the guard looks at: degrade and return set the mode, everything else leaves it. */
Test(durability_entry, mode_changes_by_degrade_and_return_alone)
{
    struct durability_entry entry = example();
    uint8_t bytes[DURABILITY_ENTRY_SIZE];
    enum durability_mode mode = DURABILITY_SYNC;
    cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
    cr_assert(durability_entry_sets_mode(bytes, sizeof bytes, &mode));
    cr_assert_eq(mode, DURABILITY_DEGRADED);
    entry.kind = DURABILITY_POLICY;
    cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
    cr_assert_not(durability_entry_sets_mode(bytes, sizeof bytes, &mode));
    entry.kind = DURABILITY_RETURN;
    entry.mode = DURABILITY_SYNC;
    cr_assert_eq(durability_entry_encode(&entry, bytes), STATUS_OK);
    cr_assert(durability_entry_sets_mode(bytes, sizeof bytes, &mode));
    cr_assert_eq(mode, DURABILITY_SYNC);
    cr_assert_not(durability_entry_sets_mode(bytes, 2, &mode));
    bytes[0] = 2;
    cr_assert_not(durability_entry_sets_mode(bytes, sizeof bytes, &mode));
}

/* The words are those of commands and documents, and are understood again. */
Test(durability_entry, words_are_read_as_they_are_written)
{
    for (int i = 0; i < 3; i++) {
        enum durability_decision decision;
        cr_assert(durability_decision_parse(durability_decision_text((enum durability_decision)i),
                                            &decision));
        cr_assert_eq(decision, i);
    }
    for (int i = 0; i < 2; i++) {
        enum durability_on_bound on_bound;
        cr_assert(durability_on_bound_parse(durability_on_bound_text((enum durability_on_bound)i),
                                            &on_bound));
        cr_assert_eq(on_bound, i);
    }
    enum durability_decision decision;
    cr_assert_not(durability_decision_parse("maybe", &decision));
    cr_assert_str_eq(durability_mode_text(DURABILITY_DEGRADED), "degraded");
    cr_assert_str_eq(durability_kind_text(DURABILITY_RETURN), "return");
    cr_assert_str_eq(durability_kind_text((enum durability_kind)9), "?");
}
