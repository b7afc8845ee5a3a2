/*
 * Members as text, and the rule about sites.
 *
 * The record is what libraft replicates as a server's address, so it must be canonical: two texts
 * for one member would be two configurations. Hence the reader is strict, and its last step prints
 * what it parsed and compares.
 *
 *     SITE ' ' ("data" | "witness") ' ' 32 lower-case hex digits ' ' ADDRESS
 *
 * The address is split here only as far as needed to refuse what nobody could dial; names are
 * resolved by whoever dials, each time anew.
 */
#include "replication/member.h"

#include "core/invariant.h"
#include "storage/journal.h"

#include <assert.h>
#include <string.h>

/* Without the zero byte. */
enum {
    TEXT_SIZE_MAX = MEMBER_SITE_SIZE_MAX + sizeof " witness " - 1 + 32 + 1 + MEMBER_ADDRESS_SIZE_MAX
};
static_assert(TEXT_SIZE_MAX < MEMBER_TEXT_SIZE, "a record fits");

static const char *const kind_names[] = {[MEMBER_DATA] = "data", [MEMBER_WITNESS] = "witness"};

/* The C locale's, whatever the process has set. */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool member_site_is_valid(const char *site)
{
    size_t size = strnlen(site, MEMBER_SITE_SIZE_MAX + 1);
    if (size == 0 || size > MEMBER_SITE_SIZE_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!is_alphanumeric(site[i]) && site[i] != '-' && site[i] != '_')
            return false;
    }
    return true;
}

/* 1 to 65535, without leading zeros. */
static bool port_is_valid(const char *port, size_t size)
{
    if (size == 0 || size > 5 || port[0] == '0')
        return false;
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) {
        if (!is_digit(port[i]))
            return false;
        value = value * 10 + (uint32_t)(port[i] - '0');
    }
    return value <= 65535;
}

/* "host:port", or "[v6]:port". */
static bool address_is_valid(const char *address)
{
    size_t size = strnlen(address, MEMBER_ADDRESS_SIZE_MAX + 1);
    if (size == 0 || size > MEMBER_ADDRESS_SIZE_MAX)
        return false;
    size_t colon = size;
    while (colon > 0 && address[colon - 1] != ':')
        colon--;
    if (colon == 0 || !port_is_valid(address + colon, size - colon))
        return false;
    size_t host_size = colon - 1;
    bool is_bracketed = address[0] == '[';
    if (is_bracketed && (host_size < 3 || address[host_size - 1] != ']'))
        return false;
    if (host_size == 0)
        return false;
    for (size_t i = is_bracketed ? 1 : 0; i < (is_bracketed ? host_size - 1 : host_size); i++) {
        char c = address[i];
        bool is_valid = is_alphanumeric(c) || c == '.' || c == '-' || c == '_';
        if (!is_valid && (!is_bracketed || (c != ':' && c != '%')))
            return false;
    }
    return true;
}

static bool id_is_valid(uint64_t node_id)
{
    return node_id >= 1 && node_id <= INT64_MAX;
}

static char *put_text(char *out, const char *text)
{
    size_t size = strlen(text);
    memcpy(out, text, size);
    return out + size;
}

/* By hand: records are read and printed in each turn of a loop. */
enum status member_print(const struct member *member, char out_text[MEMBER_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    if (!id_is_valid(member->node_id) || !member_site_is_valid(member->site) ||
        !address_is_valid(member->address) ||
        (member->kind != MEMBER_DATA && member->kind != MEMBER_WITNESS))
        return STATUS_INVALID;
    char *out = put_text(out_text, member->site);
    *out++ = ' ';
    out = put_text(out, kind_names[member->kind]);
    *out++ = ' ';
    for (size_t i = 0; i < sizeof member->incarnation; i++) {
        *out++ = digits[member->incarnation[i] >> 4];
        *out++ = digits[member->incarnation[i] & 15];
    }
    *out++ = ' ';
    out = put_text(out, member->address);
    *out = 0;
    return STATUS_OK;
}

static bool parse_hex(const char *text, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < 2 * count; i++) {
        char c = text[i];
        uint8_t digit;
        if (is_digit(c))
            digit = (uint8_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint8_t)(c - 'a' + 10);
        else
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | digit);
    }
    return true;
}

/* The next word, ended by a space or the text's end, into out[capacity] with its zero byte. Returns
 * what follows the space; NULL: there is no such word, or it is too long. */
static const char *take_word(const char *text, char *out, size_t capacity)
{
    size_t size = strcspn(text, " ");
    if (size == 0 || size >= capacity)
        return NULL;
    memcpy(out, text, size);
    out[size] = 0;
    return text[size] == 0 ? text + size : text + size + 1;
}

enum status member_parse(uint64_t node_id, const char *text, struct member *out)
{
    if (strnlen(text, MEMBER_TEXT_SIZE) == MEMBER_TEXT_SIZE)
        return STATUS_INVALID;
    struct member member = {.node_id = node_id};
    char kind[sizeof "witness"], incarnation[33];
    const char *rest = take_word(text, member.site, sizeof member.site);
    if (rest != NULL)
        rest = take_word(rest, kind, sizeof kind);
    if (rest != NULL)
        rest = take_word(rest, incarnation, sizeof incarnation);
    if (rest != NULL)
        rest = take_word(rest, member.address, sizeof member.address);
    if (rest == NULL || strlen(incarnation) != 32 ||
        !parse_hex(incarnation, member.incarnation, sizeof member.incarnation))
        return STATUS_INVALID;
    if (strcmp(kind, kind_names[MEMBER_WITNESS]) == 0)
        member.kind = MEMBER_WITNESS;
    else if (strcmp(kind, kind_names[MEMBER_DATA]) != 0)
        return STATUS_INVALID;

    char again[MEMBER_TEXT_SIZE];
    if (member_print(&member, again) != STATUS_OK || strcmp(again, text) != 0)
        return STATUS_INVALID;
    *out = member;
    return STATUS_OK;
}

/* --------------------------------------------------------------------- table */

/* Little-endian, format 1:
 *
 *     offset  size  field
 *     0       1     format
 *     1       8     count of members
 *     9             per member: u64 id, its text with the zero byte, u8 role
 *             0..7  zeros up to a multiple of eight
 *
 * The same as libraft's, which tests/replication/test_member.c compares. */
enum { FORMAT = 1, HEADER_SIZE = 9, ROLE_STANDBY = 0, ROLE_VOTER = 1, ROLE_SPARE = 2 };

static_assert(HEADER_SIZE + MEMBERS_MAX * (8 + TEXT_SIZE_MAX + 1 + 1) + 7 <= MEMBER_TABLE_BYTES_MAX,
              "a table fits");

static uint8_t *put_u64(uint8_t *out, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

static uint64_t get_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

size_t member_table_encode(const struct member_table *table,
                           uint8_t out_bytes[MEMBER_TABLE_BYTES_MAX])
{
    invariant_values(table->count <= MEMBERS_MAX, table->count, MEMBERS_MAX);
    if (table->count == 0)
        return 0;
    uint8_t *cursor = out_bytes;
    *cursor++ = FORMAT;
    cursor = put_u64(cursor, table->count);
    for (uint32_t i = 0; i < table->count; i++) {
        char text[MEMBER_TEXT_SIZE];
        if (member_print(&table->members[i], text) != STATUS_OK)
            return 0;
        cursor = put_u64(cursor, table->members[i].node_id);
        size_t size = strlen(text) + 1;
        memcpy(cursor, text, size);
        cursor += size;
        *cursor++ = table->votes[i] ? ROLE_VOTER : ROLE_SPARE;
    }
    while ((cursor - out_bytes) % 8 != 0)
        *cursor++ = 0;
    return (size_t)(cursor - out_bytes);
}

enum status member_table_decode(const void *bytes, size_t size, struct member_table *out)
{
    const uint8_t *cursor = bytes, *end = cursor + size;
    if (size < HEADER_SIZE || cursor[0] != FORMAT)
        return STATUS_INVALID;
    uint64_t count = get_u64(cursor + 1);
    cursor += HEADER_SIZE;
    if (count == 0 || count > MEMBERS_MAX)
        return STATUS_INVALID;
    struct member_table table = {0};
    for (; table.count < count; table.count++) {
        if (end - cursor < 8)
            return STATUS_INVALID;
        uint64_t id = get_u64(cursor);
        const char *text = (const char *)cursor + 8;
        const uint8_t *zero = memchr(text, 0, (size_t)(end - cursor - 8));
        if (zero == NULL || end - zero < 2 || zero[1] > ROLE_SPARE ||
            member_parse(id, text, &table.members[table.count]) != STATUS_OK)
            return STATUS_INVALID;
        for (uint32_t i = 0; i < table.count; i++) {
            if (table.members[i].node_id == id)
                return STATUS_INVALID;
        }
        table.votes[table.count] = zero[1] == ROLE_VOTER;
        cursor = zero + 2;
    }
    *out = table;
    return STATUS_OK;
}

static uint32_t voter_count(const struct member_table *table)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->count; i++)
        count += table->votes[i] ? 1 : 0;
    return count;
}

bool member_table_is_allowed(const struct member_table *table,
                             char out_site[MEMBER_SITE_SIZE_MAX + 1])
{
    invariant_values(table->count <= MEMBERS_MAX, table->count, MEMBERS_MAX);
    uint32_t voters = voter_count(table);
    for (uint32_t i = 0; i < table->count; i++) {
        uint32_t of_site = 0; /* data nodes that vote */
        for (uint32_t j = 0; j < table->count; j++) {
            const struct member *member = &table->members[j];
            of_site += table->votes[j] && member->kind == MEMBER_DATA &&
                               strcmp(member->site, table->members[i].site) == 0
                           ? 1
                           : 0;
        }
        if (of_site < voters && of_site > voters / 2) {
            memcpy(out_site, table->members[i].site, sizeof table->members[i].site);
            return false;
        }
    }
    return true;
}

static bool is_data_voter(const struct member_table *table, uint32_t i)
{
    return table->votes[i] && table->members[i].kind == MEMBER_DATA;
}

uint32_t member_table_data_sites(const struct member_table *table)
{
    invariant_values(table->count <= MEMBERS_MAX, table->count, MEMBERS_MAX);
    uint32_t count = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        bool is_first = is_data_voter(table, i);
        for (uint32_t j = 0; j < i; j++)
            is_first &= !is_data_voter(table, j) ||
                        strcmp(table->members[j].site, table->members[i].site) != 0;
        count += is_first ? 1 : 0;
    }
    return count;
}

bool member_table_survives_loss(const struct member_table *table, uint32_t up, const char *site)
{
    invariant_values(table->count <= MEMBERS_MAX, table->count, MEMBERS_MAX);
    uint32_t surviving = 0;
    for (uint32_t i = 0; i < table->count; i++)
        surviving +=
            table->votes[i] && (up >> i & 1) != 0 && strcmp(table->members[i].site, site) != 0 ? 1
                                                                                               : 0;
    return surviving > voter_count(table) / 2;
}
