/*
 * The codec of durability entries.
 *
 * Strict on both ways, and canonical: the entry goes through the chain and into blobs that are
 * compared, so one entry must not have two encodings. Enumerations are checked before they are
 * stored as one, texts have nothing behind their end, and what the mode must be after an entry of
 * some kind is checked here once, for all who read one.
 *
 * The ranges of the policy are wide: they keep out typing errors and overflows (the longest time
 * in nanoseconds fits 64 bits many times), not policies that somebody may have a reason for.
 */
#include "replication/durability_entry.h"

#include "core/text.h"

#include <assert.h>
#include <string.h>

enum {
    AT_VERSION = 0,
    AT_KIND = 1,
    AT_MODE = 2,
    AT_DECISION = 3,
    AT_ON_BOUND = 4,
    AT_AUTOMATIC = 5,
    AT_ZERO = 6,
    AT_NUMBER = 8,
    AT_STAMP = 16,
    AT_DEGRADE_AFTER = 24,
    AT_GRACE = 28,
    AT_LAG = 32,
    AT_RESYNC_DWELL = 36,
    AT_DWELL_MIN = 40,
    AT_CHANGES_MAX = 44,
    AT_SECONDS_MAX = 48,
    AT_ZERO_AGAIN = 52,
    AT_VALUE_MAX = 56,
    AT_SITE = 64,
    AT_PREFERRED = AT_SITE + MEMBER_SITE_SIZE_MAX,
    AT_DRAINED = AT_PREFERRED + MEMBER_SITE_SIZE_MAX,
    AT_RELEASED = AT_DRAINED + MEMBER_SITE_SIZE_MAX,
    AT_WHO = AT_RELEASED + MEMBER_SITE_SIZE_MAX,
    AT_WHY = AT_WHO + DURABILITY_WHO_SIZE_MAX,
};
static_assert(AT_WHO == 128 && AT_WHY == 256, "format");
static_assert(AT_WHY + DURABILITY_WHY_SIZE_MAX == DURABILITY_ENTRY_SIZE, "format");
static_assert(DURABILITY_ENTRY_SIZE % 8 == 0, "an entry's size is kept as it is");

/* ---- words ---- */

static const char *const mode_words[] = {"sync", "degraded"};
static const char *const kind_words[] = {"none", "degrade", "return", "policy", "release"};
static const char *const decision_words[] = {"auto", "never", "operator"};
static const char *const on_bound_words[] = {"alarm", "refuse"};

#define COUNT(words) (sizeof(words) / sizeof(words)[0])

static const char *word(const char *const words[], size_t count, unsigned value)
{
    return value < count ? words[value] : "?";
}

static bool find(const char *const words[], size_t count, const char *text, unsigned *out)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(words[i], text) != 0)
            continue;
        *out = i;
        return true;
    }
    return false;
}

const char *durability_mode_text(enum durability_mode mode)
{
    return word(mode_words, COUNT(mode_words), mode);
}

const char *durability_kind_text(enum durability_kind kind)
{
    return word(kind_words, COUNT(kind_words), kind);
}

const char *durability_decision_text(enum durability_decision decision)
{
    return word(decision_words, COUNT(decision_words), decision);
}

const char *durability_on_bound_text(enum durability_on_bound on_bound)
{
    return word(on_bound_words, COUNT(on_bound_words), on_bound);
}

bool durability_decision_parse(const char *text, enum durability_decision *out)
{
    unsigned value;
    if (!find(decision_words, COUNT(decision_words), text, &value))
        return false;
    *out = (enum durability_decision)value;
    return true;
}

bool durability_on_bound_parse(const char *text, enum durability_on_bound *out)
{
    unsigned value;
    if (!find(on_bound_words, COUNT(on_bound_words), text, &value))
        return false;
    *out = (enum durability_on_bound)value;
    return true;
}

/* ---- what is allowed ---- */

void durability_entry_default(struct durability_entry *out)
{
    *out = (struct durability_entry){
        .kind = DURABILITY_NONE,
        .mode = DURABILITY_SYNC,
        .policy =
            {
                .decision = DURABILITY_AUTO,
                .degrade_after_ms = 1000,
                .grace_ms = 80,
                .lag_ms = 300,
                /* Longer than a site's usual second stumble, shorter than people's patience. */
                .resync_dwell_ms = 3000,
                /* A site may be lost again right after its return: the wait until then is a pause
                 * for clients, so what bounds a flapping link is the dwell above and the cap. */
                .dwell_min_ms = 1000,
                .changes_per_hour_max = 60,
                .on_bound = DURABILITY_ALARM,
            },
    };
}

static bool site_is_good(const char *site, bool may_be_empty)
{
    return site[0] == 0 ? may_be_empty : member_site_is_valid(site);
}

enum status durability_policy_check(const struct durability_policy *policy, const char **out_reason)
{
    const struct {
        bool good;
        const char *reason;
    } checks[] = {
        {(unsigned)policy->decision < COUNT(decision_words),
         "the decision is one of auto, never, operator"},
        {policy->degrade_after_ms >= 200 && policy->degrade_after_ms <= 600000,
         "degrade_after_ms is 200 to 600000"},
        {policy->grace_ms <= 10000, "grace_ms is 0 to 10000"},
        {policy->lag_ms >= 1 && policy->lag_ms <= 60000, "lag_ms is 1 to 60000"},
        {policy->resync_dwell_ms <= 3600000, "resync_dwell_ms is 0 to 3600000"},
        {policy->dwell_min_ms <= 3600000, "dwell_min_ms is 0 to 3600000"},
        {policy->changes_per_hour_max >= 2 && policy->changes_per_hour_max <= 3600,
         "changes_per_hour_max is 2 to 3600"},
        {(unsigned)policy->on_bound < COUNT(on_bound_words), "on_bound is one of alarm, refuse"},
        {site_is_good(policy->preferred_site, true),
         "preferred_site is empty or a site's name: letters, digits, '-', '_'"},
        {site_is_good(policy->drained_site, true),
         "drained_site is empty or a site's name: letters, digits, '-', '_'"},
        {policy->drained_site[0] == 0 || strcmp(policy->drained_site, policy->preferred_site) != 0,
         "a drained site cannot be the preferred one"},
    };
    for (size_t i = 0; i < COUNT(checks); i++) {
        if (!checks[i].good) {
            *out_reason = checks[i].reason;
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

static bool text_is_good(const char *text, size_t size_max)
{
    return text_is_name(text, strnlen(text, size_max + 1), size_max);
}

static bool entry_is_good(const struct durability_entry *entry)
{
    const char *reason;
    switch (entry->kind) {
    case DURABILITY_DEGRADE:
        if (entry->mode != DURABILITY_DEGRADED)
            return false;
        break;
    case DURABILITY_RETURN:
        if (entry->mode != DURABILITY_SYNC)
            return false;
        break;
    case DURABILITY_RELEASE:
        if (strcmp(entry->released_site, entry->site) != 0)
            return false;
        __attribute__((fallthrough));
    case DURABILITY_POLICY:
        if ((unsigned)entry->mode >= COUNT(mode_words))
            return false;
        break;
    default:
        return false;
    }
    return entry->number > 0 && site_is_good(entry->site, entry->kind == DURABILITY_POLICY) &&
           site_is_good(entry->released_site, true) &&
           text_is_good(entry->who, DURABILITY_WHO_SIZE_MAX) &&
           text_is_good(entry->why, DURABILITY_WHY_SIZE_MAX) &&
           durability_policy_check(&entry->policy, &reason) == STATUS_OK;
}

/* ---- bytes ---- */

static void put(uint8_t *out, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

enum status durability_entry_encode(const struct durability_entry *entry,
                                    uint8_t out_bytes[DURABILITY_ENTRY_SIZE])
{
    if (!entry_is_good(entry))
        return STATUS_INVALID;
    const struct durability_policy *policy = &entry->policy;
    uint8_t *out = out_bytes;
    memset(out, 0, DURABILITY_ENTRY_SIZE);
    out[AT_VERSION] = DURABILITY_ENTRY_VERSION;
    out[AT_KIND] = (uint8_t)entry->kind;
    out[AT_MODE] = (uint8_t)entry->mode;
    out[AT_DECISION] = (uint8_t)policy->decision;
    out[AT_ON_BOUND] = (uint8_t)policy->on_bound;
    out[AT_AUTOMATIC] = entry->automatic;
    put(out + AT_NUMBER, entry->number, 8);
    put(out + AT_STAMP, entry->stamp, 8);
    put(out + AT_DEGRADE_AFTER, policy->degrade_after_ms, 4);
    put(out + AT_GRACE, policy->grace_ms, 4);
    put(out + AT_LAG, policy->lag_ms, 4);
    put(out + AT_RESYNC_DWELL, policy->resync_dwell_ms, 4);
    put(out + AT_DWELL_MIN, policy->dwell_min_ms, 4);
    put(out + AT_CHANGES_MAX, policy->changes_per_hour_max, 4);
    put(out + AT_SECONDS_MAX, policy->degraded_seconds_max, 4);
    put(out + AT_VALUE_MAX, policy->degraded_value_max, 8);
    memcpy(out + AT_SITE, entry->site, strlen(entry->site));
    memcpy(out + AT_PREFERRED, policy->preferred_site, strlen(policy->preferred_site));
    memcpy(out + AT_DRAINED, policy->drained_site, strlen(policy->drained_site));
    memcpy(out + AT_RELEASED, entry->released_site, strlen(entry->released_site));
    memcpy(out + AT_WHO, entry->who, strlen(entry->who));
    memcpy(out + AT_WHY, entry->why, strlen(entry->why));
    return STATUS_OK;
}

/* Into a text that is zero already and one byte longer. False: bytes behind its end. */
static bool get_text(const uint8_t *bytes, size_t size, char *out)
{
    size_t length = strnlen((const char *)bytes, size);
    memcpy(out, bytes, length);
    return bytes_are_zero(bytes + length, size - length);
}

enum status durability_entry_decode(const void *bytes, size_t size, struct durability_entry *out)
{
    const uint8_t *in = bytes;
    if (size < 1 || in[AT_VERSION] == 0)
        return STATUS_INVALID;
    if (in[AT_VERSION] != DURABILITY_ENTRY_VERSION)
        return STATUS_VERSION;
    if (size != DURABILITY_ENTRY_SIZE || in[AT_AUTOMATIC] > 1 ||
        !bytes_are_zero(in + AT_ZERO, AT_NUMBER - AT_ZERO) ||
        !bytes_are_zero(in + AT_ZERO_AGAIN, AT_VALUE_MAX - AT_ZERO_AGAIN))
        return STATUS_INVALID;
    struct durability_entry entry = {
        .kind = (enum durability_kind)in[AT_KIND],
        .mode = (enum durability_mode)in[AT_MODE],
        .number = get(in + AT_NUMBER, 8),
        .stamp = get(in + AT_STAMP, 8),
        .automatic = in[AT_AUTOMATIC] == 1,
        .policy =
            {
                .decision = (enum durability_decision)in[AT_DECISION],
                .degrade_after_ms = (uint32_t)get(in + AT_DEGRADE_AFTER, 4),
                .grace_ms = (uint32_t)get(in + AT_GRACE, 4),
                .lag_ms = (uint32_t)get(in + AT_LAG, 4),
                .resync_dwell_ms = (uint32_t)get(in + AT_RESYNC_DWELL, 4),
                .dwell_min_ms = (uint32_t)get(in + AT_DWELL_MIN, 4),
                .changes_per_hour_max = (uint32_t)get(in + AT_CHANGES_MAX, 4),
                .degraded_seconds_max = (uint32_t)get(in + AT_SECONDS_MAX, 4),
                .degraded_value_max = get(in + AT_VALUE_MAX, 8),
                .on_bound = (enum durability_on_bound)in[AT_ON_BOUND],
            },
    };
    if (!get_text(in + AT_SITE, MEMBER_SITE_SIZE_MAX, entry.site) ||
        !get_text(in + AT_PREFERRED, MEMBER_SITE_SIZE_MAX, entry.policy.preferred_site) ||
        !get_text(in + AT_DRAINED, MEMBER_SITE_SIZE_MAX, entry.policy.drained_site) ||
        !get_text(in + AT_RELEASED, MEMBER_SITE_SIZE_MAX, entry.released_site) ||
        !get_text(in + AT_WHO, DURABILITY_WHO_SIZE_MAX, entry.who) ||
        !get_text(in + AT_WHY, DURABILITY_WHY_SIZE_MAX, entry.why) || !entry_is_good(&entry))
        return STATUS_INVALID;
    *out = entry;
    return STATUS_OK;
}
