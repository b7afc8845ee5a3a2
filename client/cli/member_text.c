/*
 * The flags of a member, written by the joining node and read by whoever adds it. The incarnation
 * is among them so that what is added is that very directory: a node that lost its disk and was
 * made anew under the same number is somebody else.
 */
#include "client/cli/member_text.h"

#include "client/cli/output.h"
#include "client/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool member_hex(const char *text, uint8_t out[16])
{
    if (strlen(text) != 32)
        return false;
    for (size_t i = 0; i < 16; i++) {
        unsigned value;
        if (strspn(text + 2 * i, "0123456789abcdefABCDEF") < 2 ||
            sscanf(text + 2 * i, "%2x", &value) != 1)
            return false;
        out[i] = (uint8_t)value;
    }
    return true;
}

const char *member_kind_name(enum member_kind kind)
{
    return kind == MEMBER_WITNESS ? "witness" : "data";
}

static bool kind_by_name(const char *name, enum member_kind *out)
{
    *out = strcmp(name, "witness") == 0 ? MEMBER_WITNESS : MEMBER_DATA;
    return *out == MEMBER_WITNESS || strcmp(name, "data") == 0;
}

enum member_kind member_kind(struct argp_state *state, const char *text)
{
    enum member_kind kind = MEMBER_DATA;
    if (!kind_by_name(text, &kind))
        argp_error(state, "--kind: \"%s\" is neither data nor witness", text);
    return kind;
}

static void format_incarnation(const struct member *member, char out[33])
{
    for (size_t i = 0; i < 16; i++)
        snprintf(out + 2 * i, 3, "%02x", member->incarnation[i]);
}

void member_flags(const struct member *member, char out[MEMBER_FLAGS_SIZE])
{
    char incarnation[33];
    format_incarnation(member, incarnation);
    snprintf(out, MEMBER_FLAGS_SIZE,
             "--node-id %" PRIu64 " --site %s --kind %s --address %s --incarnation %s",
             member->node_id, member->site, member_kind_name(member->kind), member->address,
             incarnation);
}

json_t *member_json(const struct member *member)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:o}", "node_id", (json_int_t)member->node_id, "site",
                     member->site, "kind", member_kind_name(member->kind), "address",
                     member->address, "incarnation",
                     output_bytes(member->incarnation, sizeof member->incarnation));
}

/* ---- reading ---- */

enum { FLAG_ID, FLAG_SITE, FLAG_KIND, FLAG_ADDRESS, FLAG_INCARNATION, FLAG_COUNT };
static const char *const flag_names[FLAG_COUNT] = {"--node-id", "--site", "--kind", "--address",
                                                   "--incarnation"};

static bool take_id(const char *value, uint64_t *out)
{
    uint64_t id = 0;
    for (const char *at = value; *at != '\0'; at++) {
        uint64_t digit = (uint64_t)(unsigned char)*at - '0';
        if (digit > 9 || id > (INT64_MAX - digit) / 10)
            return false;
        id = id * 10 + digit;
    }
    *out = id;
    return id != 0;
}

static bool take(struct member *member, int flag, const char *value)
{
    switch (flag) {
    case FLAG_ID:
        return take_id(value, &member->node_id);
    case FLAG_SITE:
        if (strlen(value) >= sizeof member->site)
            return false;
        memcpy(member->site, value, strlen(value) + 1);
        return true;
    case FLAG_KIND:
        return kind_by_name(value, &member->kind);
    case FLAG_ADDRESS:
        if (strlen(value) >= sizeof member->address)
            return false;
        memcpy(member->address, value, strlen(value) + 1);
        return true;
    default:
        return member_hex(value, member->incarnation);
    }
}

static int flag_by_name(const char *name)
{
    int flag = 0;
    while (flag < FLAG_COUNT && strcmp(flag_names[flag], name) != 0)
        flag++;
    return flag;
}

bool member_flags_parse(const char *text, struct member *out, const char **out_reason)
{
    static const char *const wrong[FLAG_COUNT] = {
        "--node-id is no number of 1 to 2^63 - 1", "--site is above 16 bytes",
        "--kind is neither data nor witness", "--address is above 128 bytes",
        "--incarnation is not 32 hex digits"};
    static const char separators[] = " \t\r\n";
    char line[MEMBER_FLAGS_SIZE + 64];
    char printed[MEMBER_TEXT_SIZE];
    struct member member = {0};
    unsigned seen = 0;
    char *rest;
    *out_reason = "is longer than a member's flags";
    if (strlen(text) >= sizeof line)
        return false;
    memcpy(line, text, strlen(text) + 1);
    for (char *name = strtok_r(line, separators, &rest); name != NULL;
         name = strtok_r(NULL, separators, &rest)) {
        const char *value = strtok_r(NULL, separators, &rest);
        int flag = flag_by_name(name);
        *out_reason = "does not consist of --node-id N --site S --kind K --address A --incarnation "
                      "HEX, each once";
        if (flag == FLAG_COUNT || value == NULL || (seen & 1u << flag) != 0)
            return false;
        seen |= 1u << flag;
        *out_reason = wrong[flag];
        if (!take(&member, flag, value))
            return false;
    }
    *out_reason = "misses one of --node-id, --site, --kind, --address, --incarnation";
    if (seen != (1u << FLAG_COUNT) - 1)
        return false;
    *out_reason = "names no member: a site is letters, digits, '-', '_'; an address HOST:PORT or "
                  "[IPv6]:PORT";
    if (member_print(&member, printed) != STATUS_OK)
        return false;
    *out = member;
    return true;
}
