/*
 * A table of names and places. drained_site is not among them: draining is more than its entry (the
 * leader has to leave first), and has a command of its own.
 */
#include "replication/node/policy_settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *name;
    enum { SETTING_U32, SETTING_U64, SETTING_DECISION, SETTING_ON_BOUND, SETTING_SITE } kind;
    size_t offset;
};

#define PLACE(member) offsetof(struct durability_policy, member)

static const struct setting settings_table[] = {
    {"decision", SETTING_DECISION, PLACE(decision)},
    {"degrade_after_ms", SETTING_U32, PLACE(degrade_after_ms)},
    {"grace_ms", SETTING_U32, PLACE(grace_ms)},
    {"lag_ms", SETTING_U32, PLACE(lag_ms)},
    {"resync_dwell_ms", SETTING_U32, PLACE(resync_dwell_ms)},
    {"dwell_min_ms", SETTING_U32, PLACE(dwell_min_ms)},
    {"changes_per_hour_max", SETTING_U32, PLACE(changes_per_hour_max)},
    {"degraded_seconds_max", SETTING_U32, PLACE(degraded_seconds_max)},
    {"degraded_value_max", SETTING_U64, PLACE(degraded_value_max)},
    {"on_bound", SETTING_ON_BOUND, PLACE(on_bound)},
    {"preferred_site", SETTING_SITE, PLACE(preferred_site)},
};
#define SETTING_COUNT (sizeof settings_table / sizeof settings_table[0])

/* Decimal digits only. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        const unsigned digit = (unsigned)(unsigned char)*text - '0';
        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* NULL: fine; otherwise what would be right. */
static const char *set(const struct setting *setting, const char *value,
                       struct durability_policy *policy)
{
    char *place = (char *)policy + setting->offset;
    uint64_t number;
    switch (setting->kind) {
    case SETTING_U32:
        if (!parse_number(value, UINT32_MAX, &number))
            return "a whole number";
        *(uint32_t *)(void *)place = (uint32_t)number;
        return NULL;
    case SETTING_U64:
        if (!parse_number(value, UINT64_MAX, &number))
            return "a whole number";
        *(uint64_t *)(void *)place = number;
        return NULL;
    case SETTING_DECISION:
        return durability_decision_parse(value, &policy->decision) ? NULL
                                                                   : "auto, never or operator";
    case SETTING_ON_BOUND:
        return durability_on_bound_parse(value, &policy->on_bound) ? NULL : "alarm or refuse";
    case SETTING_SITE:
        if (strlen(value) > MEMBER_SITE_SIZE_MAX)
            return "a site's name, or nothing";
        memset(place, 0, MEMBER_SITE_SIZE_MAX + 1);
        memcpy(place, value, strlen(value));
        return NULL;
    }
    return "unknown";
}

static const struct setting *find(const char *name, size_t size)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strlen(settings_table[i].name) == size &&
            memcmp(settings_table[i].name, name, size) == 0)
            return &settings_table[i];
    return NULL;
}

static void list_names(char *out, size_t size)
{
    out[0] = '\0';
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const size_t used = strlen(out);
        snprintf(out + used, size - used, "%s%s", i > 0 ? ", " : "", settings_table[i].name);
    }
}

enum status policy_settings_apply(const char *settings, struct durability_policy *policy,
                                  char *out_reason, size_t size)
{
    struct durability_policy changed = *policy;
    while (*settings != '\0') {
        char word[96], names[256];
        const size_t length = strcspn(settings, " ");
        const size_t name_size = strcspn(settings, "= ");
        const struct setting *setting = find(settings, name_size);
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1),
                 settings);
        if (setting == NULL || length == name_size) {
            list_names(names, sizeof names);
            snprintf(out_reason, size, "\"%s\" is no setting KEY=VALUE; keys are %s", word, names);
            return STATUS_INVALID;
        }
        if (length >= sizeof word) { /* half of a number is another number */
            snprintf(out_reason, size, "\"%.40s...\" is longer than any setting", word);
            return STATUS_INVALID;
        }
        const char *right = set(setting, word + name_size + 1, &changed);
        if (right != NULL) {
            snprintf(out_reason, size, "\"%s\": %s is needed", word, right);
            return STATUS_INVALID;
        }
        settings += length + (settings[length] == ' ');
    }
    *policy = changed;
    return STATUS_OK;
}

bool policy_settings_same(const struct durability_policy *a, const struct durability_policy *b)
{
    return a->decision == b->decision && a->degrade_after_ms == b->degrade_after_ms &&
           a->grace_ms == b->grace_ms && a->lag_ms == b->lag_ms &&
           a->resync_dwell_ms == b->resync_dwell_ms && a->dwell_min_ms == b->dwell_min_ms &&
           a->changes_per_hour_max == b->changes_per_hour_max &&
           a->degraded_seconds_max == b->degraded_seconds_max &&
           a->degraded_value_max == b->degraded_value_max && a->on_bound == b->on_bound &&
           strcmp(a->preferred_site, b->preferred_site) == 0 &&
           strcmp(a->drained_site, b->drained_site) == 0;
}
