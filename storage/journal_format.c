/*
 * Codec of the journal's bytes. Pure: no file, no state.
 *
 * Record checksums are keyed by a secret drawn from the segment's random generation, so nothing but
 * this segment's writer makes bytes that pass: not a payload that imitates a record, not a record
 * of an older use of the same blocks, not one of another segment. The secret is made with SHA-256
 * because XXH3_generateSecret() is not among libxxhash's stable functions, and a format must not
 * change with a library. Checksums find accidents; the SHA-256 chain is what auditors rely on.
 */
#include "storage/journal_format.h"

#include "core/bounds.h"
#include "core/invariant.h"
#include "core/u128.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const uint8_t magic[8] = {'T', 'A', 'L', 'L', 'Y', 'J', 'N', 'L'};
static const char key_label[] = "tallystick journal record key 1";

_Static_assert(JOURNAL_KEY_SIZE >= XXH3_SECRET_SIZE_MIN, "XXH3 wants at least this");
_Static_assert(JOURNAL_KEY_SIZE % HASH_SIZE == 0, "made of whole hashes");

void journal_key_derive(const uint8_t generation[16], struct journal_key *out)
{
    struct hash_stream *hash = hash_stream_create();
    for (uint8_t i = 0; i < JOURNAL_KEY_SIZE / HASH_SIZE; i++) {
        hash_stream_add(hash, key_label, sizeof key_label);
        hash_stream_add(hash, generation, 16);
        hash_stream_add(hash, &i, 1);
        hash_stream_finish(hash, out->secret + (size_t)i * HASH_SIZE);
    }
    hash_stream_destroy(hash);
}

void journal_segment_name(uint64_t number, char out[JOURNAL_NAME_SIZE])
{
    (void)snprintf(out, JOURNAL_NAME_SIZE, "%020" PRIu64 ".seg", number); /* 24 of 32 bytes */
}

bool journal_segment_name_parse(const char *name, uint64_t *out_number)
{
    uint64_t number = 0;
    for (int i = 0; i < 20; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        const uint64_t digit = (uint64_t)(name[i] - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (strcmp(name + 20, ".seg") != 0 || number == 0)
        return false;
    *out_number = number;
    return true;
}

static void segment_header_checksum(const struct journal_segment_header *header, uint8_t out[16])
{
    struct journal_segment_header copy = *header;
    memset(copy.checksum, 0, sizeof copy.checksum);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(&copy, sizeof copy));
    memcpy(out, canonical.digest, 16);
}

void journal_segment_header_seal(struct journal_segment_header *header)
{
    memcpy(header->magic, magic, sizeof magic);
    header->version = JOURNAL_FORMAT_VERSION;
    header->header_size = JOURNAL_PAGE_SIZE;
    segment_header_checksum(header, header->checksum);
}

enum status journal_segment_header_check(const struct journal_segment_header *header)
{
    uint8_t checksum[16];
    segment_header_checksum(header, checksum);
    if (memcmp(header->magic, magic, sizeof magic) != 0 ||
        memcmp(checksum, header->checksum, sizeof checksum) != 0)
        return STATUS_CORRUPT;
    /* Only now may the version be believed; place and method of the checksum stay for ever. */
    if (header->version != JOURNAL_FORMAT_VERSION)
        return STATUS_VERSION;
    if (header->header_size != JOURNAL_PAGE_SIZE || header->number == 0 ||
        header->size < JOURNAL_SEGMENT_SIZE_MIN || header->size > JOURNAL_SEGMENT_SIZE_MAX ||
        header->size % JOURNAL_PAGE_SIZE != 0 || header->first_sequence == 0 ||
        header->configuration_size > JOURNAL_CONFIGURATION_SIZE_MAX || header->reserved_0 != 0)
        return STATUS_CORRUPT;
    return STATUS_OK;
}

bool journal_record_is_entry(uint16_t type)
{
    return type >= JOURNAL_COMMAND && type <= JOURNAL_DIGEST;
}

uint64_t journal_record_body_size(uint16_t type, uint32_t length)
{
    if (!journal_record_is_entry(type) && type != JOURNAL_TRUNCATE)
        return 0;
    const uint64_t size = (uint64_t)length + JOURNAL_HASH_SIZE;
    return (size + JOURNAL_RECORD_ALIGN - 1) / JOURNAL_RECORD_ALIGN * JOURNAL_RECORD_ALIGN;
}

uint64_t journal_record_size(uint16_t type, uint32_t length)
{
    return sizeof(struct journal_record_header) + journal_record_body_size(type, length);
}

static uint64_t record_header_checksum(const struct journal_key *key,
                                       const struct journal_record_header *header)
{
    const uint8_t *bytes = (const uint8_t *)header;
    return XXH3_64bits_withSecret(bytes + sizeof header->checksum,
                                  sizeof *header - sizeof header->checksum, key->secret,
                                  sizeof key->secret);
}

static void record_body_checksum(const struct journal_key *key, const uint8_t *body, uint64_t size,
                                 uint8_t out[16])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(
        &canonical, XXH3_128bits_withSecret(body, (size_t)size, key->secret, sizeof key->secret));
    memcpy(out, canonical.digest, 16);
}

void journal_record_encode(const struct journal_key *key,
                           const struct journal_record_header *header, const void *payload,
                           const uint8_t head[JOURNAL_HASH_SIZE], uint8_t *out)
{
    struct journal_record_header sealed = *header;
    const uint64_t body_size = journal_record_body_size(header->type, header->length);
    invariant_values(header->length <= ENTRY_SIZE_MAX, header->length, ENTRY_SIZE_MAX);
    invariant_values(header->synced_to < header->sequence, header->synced_to, header->sequence);
    uint8_t *body = out + sizeof sealed;
    if (body_size > 0) {
        if (header->length > 0)
            memcpy(body, payload, header->length);
        memset(body + header->length, 0, (size_t)body_size - JOURNAL_HASH_SIZE - header->length);
        memcpy(body + body_size - JOURNAL_HASH_SIZE, head, JOURNAL_HASH_SIZE);
    } else {
        invariant_values(header->length == 0, header->length, header->type);
    }
    sealed.reserved = 0;
    record_body_checksum(key, body, body_size, sealed.body_checksum);
    sealed.checksum = record_header_checksum(key, &sealed);
    memcpy(out, &sealed, sizeof sealed);
}

bool journal_record_header_valid(const struct journal_key *key,
                                 const struct journal_record_header *header)
{
    return header->checksum == record_header_checksum(key, header);
}

bool journal_record_body_valid(const struct journal_key *key,
                               const struct journal_record_header *header, const uint8_t *body)
{
    uint8_t checksum[16];
    record_body_checksum(key, body, journal_record_body_size(header->type, header->length),
                         checksum);
    return memcmp(checksum, header->body_checksum, sizeof checksum) == 0;
}

void journal_chain(struct hash_stream *hash, const uint8_t previous[JOURNAL_HASH_SIZE],
                   const struct journal_entry *entry, uint8_t out[JOURNAL_HASH_SIZE])
{
    const uint64_t numbers[3] = {entry->index, entry->term, entry->type};
    hash_stream_add(hash, previous, JOURNAL_HASH_SIZE);
    hash_stream_add(hash, numbers, sizeof numbers);
    if (entry->size > 0)
        hash_stream_add(hash, entry->payload, entry->size);
    hash_stream_finish(hash, out);
}

bool journal_is_zero(const uint8_t *bytes, size_t size)
{
    uint64_t seen = 0;
    while (size >= 64) {
        uint64_t word[8];
        memcpy(word, bytes, sizeof word);
        seen |= word[0] | word[1] | word[2] | word[3] | word[4] | word[5] | word[6] | word[7];
        if (seen != 0)
            return false;
        bytes += 64;
        size -= 64;
    }
    for (size_t i = 0; i < size; i++)
        seen |= bytes[i];
    return seen == 0;
}
