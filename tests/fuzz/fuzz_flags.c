/*
 * What people and their programs write on command lines, in files of ours and into header fields:
 * ids, amounts, identities, members, servers, moments, dates, policies, timeouts. The first byte
 * chooses. Each is read back from what is printed for it, or compared with a second way of reading
 * that shares nothing with the first; a refusal has words where it can have some.
 */
#include "client/cli/columns.h"
#include "client/cli/evidence.h"
#include "client/cli/member_text.h"
#include "client/cli/observe.h"
#include "client/cli/server_status.h"
#include "client/tally.h"
#include "fuzz.h"
#include "net/grpc_text.h"
#include "replication/directory.h"
#include "replication/node/policy_settings.h"
#include "server/grpc_head.h"
#include "storage/journal_format.h"

#include <ctype.h>
#include <time.h>

__extension__ typedef unsigned __int128 u128;

static void check_id(const char *text)
{
    struct tally_id id, again;
    struct tally_error error = {.text = ""};
    char printed[TALLY_ID_TEXT_SIZE];
    if (tally_id_parse(text, strlen(text), &id, &error) != TALLY_OK) {
        need(error.text[0] != '\0', "a refused id is refused in words");
        return;
    }
    tally_id_format(&id, printed);
    need(tally_id_parse(printed, strlen(printed), &again, NULL) == TALLY_OK &&
             memcmp(&id, &again, sizeof id) == 0,
         "an id is read back");
}

/* Times ten to the exponent, by long arithmetic on decimal digits. */
static bool read_amount_slowly(const char *text, uint32_t exponent, u128 *out)
{
    const char *point = strchr(text, '.');
    const size_t whole = point != NULL ? (size_t)(point - text) : strlen(text);
    const size_t decimals = point != NULL ? strlen(point + 1) : 0;
    u128 value = 0;
    if (whole == 0 || (point != NULL && decimals == 0) || decimals > exponent)
        return false;
    for (size_t i = 0; i < whole + exponent; i++) {
        char c = '0';
        if (i < whole)
            c = text[i];
        else if (i - whole < decimals)
            c = point[1 + i - whole];
        if (!isdigit((unsigned char)c))
            return false;
        const unsigned digit = (unsigned)(c - '0');
        if (value > (~(u128)0 - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static void check_amount(const char *text, uint32_t exponent)
{
    struct tally_amount amount, again;
    struct tally_error error = {.text = ""};
    char printed[TALLY_AMOUNT_SIZE];
    u128 slow = 0;
    const bool valid =
        tally_amount_parse(text, strlen(text), exponent, &amount, &error) == TALLY_OK;
    need(valid == (exponent <= TALLY_EXPONENT_MAX && read_amount_slowly(text, exponent, &slow)),
         "an amount to one is one to the other");
    need(valid || error.text[0] != '\0', "a refused amount is refused in words");
    if (!valid)
        return;
    need(((u128)amount.high << 64 | amount.low) == slow, "the same amount");
    tally_amount_format(&amount, exponent, printed);
    need(tally_amount_parse(printed, strlen(printed), exponent, &again, NULL) == TALLY_OK &&
             again.low == amount.low && again.high == amount.high,
         "an amount is read back");
}

static void check_identity(const char *text)
{
    struct tally_identity identity, again;
    struct tally_error error = {.text = ""};
    char printed[TALLY_IDENTITY_SIZE];
    if (tally_identity_parse(text, &identity, &error) != TALLY_OK) {
        need(error.text[0] != '\0', "a refused identity is refused in words");
        return;
    }
    tally_identity_format(&identity, printed);
    need(tally_identity_parse(printed, &again, NULL) == TALLY_OK &&
             memcmp(identity.nonce, again.nonce, sizeof again.nonce) == 0 &&
             identity.issued_at_ns == again.issued_at_ns,
         "an identity is read back");
}

static void check_member(const char *text)
{
    struct member member, again;
    const char *reason = NULL;
    char line[MEMBER_FLAGS_SIZE], record[MEMBER_TEXT_SIZE];
    if (!member_flags_parse(text, &member, &reason)) {
        need(reason != NULL && reason[0] != '\0', "refused flags are refused in words");
        return;
    }
    need(member_print(&member, record) == STATUS_OK, "a member that was read can be in a table");
    member_flags(&member, line);
    need(member_flags_parse(line, &again, &reason), "flags are read back");
    need(again.node_id == member.node_id && again.kind == member.kind &&
             strcmp(again.site, member.site) == 0 && strcmp(again.address, member.address) == 0 &&
             memcmp(again.incarnation, member.incarnation, sizeof again.incarnation) == 0,
         "to the same member");
}

/* A number of a policy, by other means: the digits compared as text. */
static bool is_value(const char *word, size_t size, uint64_t value)
{
    char digits[24];
    while (size > 1 && *word == '0') {
        word++;
        size--;
    }
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    return strlen(digits) == size && memcmp(digits, word, size) == 0;
}

/* The last word for each number is the one that counts, whatever its length. */
static void check_policy(const char *text)
{
    const struct {
        const char *key;
        size_t offset;
    } keys[] = {
        {"degrade_after_ms=", offsetof(struct durability_policy, degrade_after_ms)},
        {"grace_ms=", offsetof(struct durability_policy, grace_ms)},
        {"lag_ms=", offsetof(struct durability_policy, lag_ms)},
        {"changes_per_hour_max=", offsetof(struct durability_policy, changes_per_hour_max)}};
    struct durability_entry entry;
    char reason[600] = "";
    durability_entry_default(&entry);
    struct durability_policy policy = entry.policy;
    if (policy_settings_apply(text, &policy, reason, sizeof reason) != STATUS_OK) {
        need(reason[0] != '\0', "a refused setting is refused in words");
        need(policy_settings_same(&policy, &entry.policy), "and changes nothing");
        return;
    }
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        const char *last = NULL;
        for (const char *at = text; *at != '\0';) {
            const size_t size = strcspn(at, " ");
            if (strncmp(at, keys[k].key, strlen(keys[k].key)) == 0)
                last = at + strlen(keys[k].key);
            at += size + (at[size] == ' ');
        }
        uint32_t value;
        memcpy(&value, (const char *)&policy + keys[k].offset, sizeof value);
        if (last != NULL)
            need(is_value(last, strcspn(last, " "), value), "a setting is what was written");
    }
    struct durability_policy twice = policy;
    need(policy_settings_apply(text, &twice, reason, sizeof reason) == STATUS_OK &&
             policy_settings_same(&twice, &policy),
         "the same settings again change nothing");
}

/* A moment reads as the calendar would print it; nothing is bent into another day. Leap seconds
 * belong to the next minute. */
static void check_time(const char *text)
{
    uint64_t ns = 0;
    int year, month, day, hour, minute, second, used = 0;
    if (!evidence_parse_time(text, &ns))
        return;
    need(ns >= 1000000000, "after 1970");
    if (strspn(text, "0123456789") == strlen(text)) {
        need(ns == strtoull(text, NULL, 10), "nanoseconds as written");
        return;
    }
    need(sscanf(text, "%d-%d-%dT%d:%d:%d%n", &year, &month, &day, &hour, &minute, &second, &used) ==
             6,
         "a date and a time");
    const char *zone = text + used + strcspn(text + used, "Z+-");
    int zone_hours = 0, zone_minutes = 0;
    if (*zone != 'Z')
        need(sscanf(zone + 1, "%d:%d", &zone_hours, &zone_minutes) == 2, "a zone");
    const int64_t offset_s = (*zone == '-' ? -60 : 60) * (zone_hours * 60 + zone_minutes);
    const time_t seconds = (time_t)((int64_t)(ns / 1000000000) + offset_s);
    struct tm shown;
    need(gmtime_r(&seconds, &shown) != NULL, "a time");
    if (second < 60)
        need(shown.tm_year + 1900 == year && shown.tm_mon + 1 == month && shown.tm_mday == day &&
                 shown.tm_hour == hour && shown.tm_min == minute && shown.tm_sec == second,
             "the moment that was written, not another");
}

static void check_columns(const char *text)
{
    uint32_t date = 0, flags = 0;
    char printed[16];
    if (columns_parse_date(text, strlen(text), &date)) {
        char digits[16];
        size_t count = 0;
        for (const char *at = text; *at != '\0' && count < 15; at++)
            if (*at != '-')
                digits[count++] = *at;
        digits[count] = '\0';
        snprintf(printed, sizeof printed, "%08u", date);
        need(strcmp(digits, printed) == 0, "a date's digits as written");
    }
    if (columns_parse_flags(text, strlen(text), &flags))
        need(flags <= UINT16_MAX, "flags fit their field");
}

static void check_servers(const char *text)
{
    char server[SERVER_NAME_SIZE];
    const char *at = text;
    while (server_next(&at, server)) {
        need(server[0] != '\0' && strpbrk(server, " ,") == NULL, "a name without separators");
        need(at > text && at <= text + strlen(text), "inside of the list");
    }
    need(*at == '\0', "to the end of the list");
}

static void check_observed_site(const char *text)
{
    static struct observe run;
    char error[OBSERVE_TEXT_SIZE] = "";
    memset(&run, 0, sizeof run);
    if (!observe_site_parse(&run, text, error)) {
        need(error[0] != '\0', "a refused site is refused in words");
        need(run.site_count == 0, "and is not there");
        return;
    }
    need(run.site_count == 1 && run.sites[0].server_count == run.server_count, "all its servers");
    need(run.server_count >= 1 && run.server_count <= OBSERVE_SERVERS_MAX, "a few servers");
    const char *at = strchr(text, '=') + 1;
    for (size_t i = 0; i < run.server_count; i++) {
        const struct observe_server *server = &run.servers[i];
        const size_t size = strcspn(at, ",");
        need(fuzz_same(server->name, strlen(server->name), at, size), "named as written");
        need(server->port >= 1 && strstr(server->name, server->host) != NULL, "host and port");
        at += size + (at[size] == ',');
    }
}

static void check_directory_names(const char *text)
{
    char name[DIRECTORY_NAME_MAX];
    uint64_t number = 0;
    if (directory_generation_parse(DIRECTORY_JOURNAL, text, &number)) {
        directory_generation_name(DIRECTORY_JOURNAL, number, name);
        need(strcmp(name, text) == 0, "one name for one generation");
    }
    if (journal_segment_name_parse(text, &number)) {
        char segment[64];
        snprintf(segment, sizeof segment, "%020llu.seg", (unsigned long long)number);
        need(strcmp(segment, text) == 0, "one name for one segment");
    }
}

static void check_timeout(const uint8_t *bytes, size_t size)
{
    char printed[GRPC_TIMEOUT_TEXT_SIZE];
    uint64_t ns, again;
    if (!grpc_timeout_parse(bytes, size, &ns))
        return;
    grpc_timeout_format(ns, printed);
    need(grpc_timeout_parse((const uint8_t *)printed, strlen(printed), &again), "read back");
    need(again <= (ns > 0 ? ns : 1), "never longer than asked");
    /* Less than one of its unit is lost, and there are at least 10^5 of it. */
    need(ns == UINT64_MAX || again >= ns || ns - again <= ns / 100000, "and hardly shorter");
}

static void check_percent(const uint8_t *bytes, size_t size)
{
    char *text = fuzz_text(bytes, size);
    const size_t capacity = 3 * strlen(text) + 1;
    char *encoded = malloc(capacity), *decoded = malloc(capacity);
    need(encoded != NULL && decoded != NULL, "memory");
    const size_t used = grpc_percent_encode(text, encoded, capacity - 1);
    for (size_t i = 0; i < used; i++)
        need(encoded[i] >= 0x20 && encoded[i] <= 0x7e, "printable ASCII only");
    need(used == 0 || (encoded[0] != ' ' && encoded[used - 1] != ' '), "no space at an end");
    grpc_percent_decode((const uint8_t *)encoded, used, decoded, capacity);
    /* The text without spaces at its ends; what controls a terminal is not shown. */
    const char *from = text + strspn(text, " ");
    size_t length = strlen(from);
    while (length > 0 && from[length - 1] == ' ')
        length--;
    need(strlen(decoded) == length, "nothing lost, nothing added");
    for (size_t i = 0; i < length; i++)
        need(decoded[i] == from[i] ||
                 (decoded[i] == '?' && ((unsigned char)from[i] < 0x20 || from[i] == 0x7f)),
             "the same text");
    /* Any bytes, cut to any room. */
    char room[8];
    grpc_percent_decode(bytes, size, room, 1 + size % sizeof room);
    need(memchr(room, 0, sizeof room) != NULL, "the text ends");
    free(encoded);
    free(decoded);
    free(text);
}

/* Header fields: name, zero, value, zero, and so on. */
static void check_head(const uint8_t *bytes, size_t size)
{
    static struct grpc_head head;
    grpc_head_init(&head);
    for (size_t at = 0; at < size;) {
        const uint8_t *name = bytes + at;
        const size_t name_size = strnlen((const char *)name, size - at);
        at += name_size + (at + name_size < size);
        const uint8_t *value = bytes + at;
        const size_t value_size = strnlen((const char *)value, size - at);
        at += value_size + (at + value_size < size);
        if (name_size + value_size == 0)
            continue;
        grpc_head_field(&head, name, name_size, value, value_size);
    }
    need(head.too_large ||
             (head.size <= GRPC_HEAD_SIZE_MAX && head.field_count <= GRPC_HEAD_FIELDS_MAX),
         "within its limits, or said to be beyond");
    need(head.path[head.path_size] == '\0', "the path ends");
    need(head.max_age_malformed || head.max_age_ms <= GRPC_MAX_AGE_MS_MAX,
         "an age of at most a day");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096)
        return 0;
    const uint8_t choice = data[0] % 13;
    char *text = fuzz_text(data + 1, size - 1);
    uint8_t role;
    switch (choice) {
    case 0:
        check_id(text);
        break;
    case 1:
        check_amount(text, data[0] / 13); /* 0 .. 19: one beyond the greatest */
        break;
    case 2:
        check_identity(text);
        break;
    case 3:
        check_member(text);
        break;
    case 4:
        check_policy(text);
        break;
    case 5:
        check_time(text);
        break;
    case 6:
        check_columns(text);
        break;
    case 7:
        check_servers(text);
        break;
    case 8:
        check_observed_site(text);
        break;
    case 9:
        check_directory_names(text);
        need(!tally_role_parse(text, &role) || strcmp(tally_role_name(role), text) == 0,
             "a role's name is read back");
        break;
    case 10:
        check_timeout(data + 1, size - 1);
        break;
    case 11:
        check_percent(data + 1, size - 1);
        break;
    default:
        check_head(data + 1, size - 1);
    }
    free(text);
    return 0;
}
