/* Settings as operators write them: each key by its name, whatever is wrong with its words. */
#include "replication/node/policy_settings.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(policy_settings, .timeout = 10);

static struct durability_policy defaults(void)
{
    struct durability_entry entry;
    durability_entry_default(&entry);
    return entry.policy;
}

Test(policy_settings, every_setting_is_taken_by_its_name_and_the_others_stay)
{
    struct durability_policy policy = defaults(), before = policy;
    char reason[384] = "";
    cr_assert_eq(policy_settings_apply("", &policy, reason, sizeof reason), STATUS_OK);
    cr_assert(policy_settings_same(&policy, &before));
    cr_assert_eq(
        policy_settings_apply("decision=never degrade_after_ms=1500 grace_ms=81 lag_ms=301 "
                              "resync_dwell_ms=3001 dwell_min_ms=7 changes_per_hour_max=9 "
                              "degraded_seconds_max=60 degraded_value_max=18446744073709551615 "
                              "on_bound=refuse preferred_site=A",
                              &policy, reason, sizeof reason),
        STATUS_OK, "%s", reason);
    cr_assert_eq(policy.decision, DURABILITY_NEVER);
    cr_assert_eq(policy.degrade_after_ms, 1500);
    cr_assert_eq(policy.grace_ms, 81);
    cr_assert_eq(policy.lag_ms, 301);
    cr_assert_eq(policy.resync_dwell_ms, 3001);
    cr_assert_eq(policy.dwell_min_ms, 7);
    cr_assert_eq(policy.changes_per_hour_max, 9);
    cr_assert_eq(policy.degraded_seconds_max, 60);
    cr_assert_eq(policy.degraded_value_max, UINT64_MAX);
    cr_assert_eq(policy.on_bound, DURABILITY_REFUSE);
    cr_assert_str_eq(policy.preferred_site, "A");
    before = policy;
    cr_assert_eq(policy_settings_apply("preferred_site=", &policy, reason, sizeof reason),
                 STATUS_OK);
    cr_assert_str_empty(policy.preferred_site);
    cr_assert_not(policy_settings_same(&policy, &before));
    cr_assert_eq(policy.grace_ms, 81);
}

Test(policy_settings, what_is_wrong_is_named_and_nothing_changes)
{
    static const struct {
        const char *settings, *words;
    } rows[] = {
        {"decision=perhaps", "auto, never or operator is needed"},
        {"on_bound=stop", "alarm or refuse is needed"},
        {"grace_ms=", "a whole number is needed"},
        {"grace_ms=-1", "a whole number is needed"},
        {"grace_ms=4294967296", "a whole number is needed"},
        {"degraded_value_max=18446744073709551616", "a whole number is needed"},
        {"grace_ms", "no setting KEY=VALUE"},
        {"drained_site=A", "no setting KEY=VALUE"}, /* has a command of its own */
        {"grace=1", "keys are decision, degrade_after_ms"},
        {"decision=never  grace_ms=1", "no setting KEY=VALUE"},
        {"preferred_site=exactly-16-chars", NULL}, /* the longest name */
        {"preferred_site=more-than-16-char", "a site's name"},
        {"decision=never grace_ms=x", "\"grace_ms=x\""},
        /* cut to what the word's room holds it would be 0 */
        {"grace_ms=00000000000000000000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000005",
         "longer than any setting"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct durability_policy policy = defaults(), before = policy;
        char reason[384] = "";
        enum status status =
            policy_settings_apply(rows[i].settings, &policy, reason, sizeof reason);
        cr_assert_eq(status, rows[i].words == NULL ? STATUS_OK : STATUS_INVALID, "%s",
                     rows[i].settings);
        if (rows[i].words == NULL)
            continue;
        cr_assert(strstr(reason, rows[i].words), "%s: %s", rows[i].settings, reason);
        cr_assert(policy_settings_same(&policy, &before), "%s", rows[i].settings);
    }
}
