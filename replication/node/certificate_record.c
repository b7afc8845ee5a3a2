/*
 * One text for one certificate: every byte has one meaning, and what is not used is zero. So a
 * signature that covers the record covers all that is claimed, and two nodes that hold one
 * certificate hold the same file.
 *
 *   record (192) | signature size u16 | 0 u16 | chain size u32 | signature | chain | zeros to 8 |
 *   SHA-256 of all before (32)
 *
 * The signature is over CERTIFICATE_SCHEME with its zero byte and the record. Not over the chain:
 * another chain does not verify it. It is for who trusts nobody, and needs the authorities to be
 * checked. The digest is for a node that finds its own file: bits that changed on a disk are told
 * from a certificate at once, by any member and also where it is not signed. A changed term or
 * sequence would else keep the newer ones out.
 */
#include "replication/node/certificate_record.h"

#include "core/invariant.h"
#include "core/text.h"
#include "storage/hash.h"

#include <string.h>

static const uint8_t magic[8] = {'T', 'A', 'L', 'L', 'Y', 'C', 'R', 'T'};

struct sizes {
    uint16_t signature;
    uint16_t reserved;
    uint32_t chain;
};
_Static_assert(sizeof(struct sizes) == 8, "format");
_Static_assert(CERTIFICATE_DIGEST_SIZE == HASH_SIZE, "format");

static size_t padded(size_t size)
{
    return (size + 7) / 8 * 8;
}

static void digest_of(const void *bytes, size_t size, uint8_t out[HASH_SIZE])
{
    const struct hash_part part = {.bytes = bytes, .size = size};
    hash_parts(&part, 1, out);
}

void certificate_record_begin(struct certificate_record *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->magic, magic, sizeof magic);
    out->version = CERTIFICATE_VERSION;
    out->size = sizeof *out;
}

size_t certificate_encode(const struct certificate_view *view,
                          uint8_t out_bytes[CERTIFICATE_SIZE_MAX])
{
    invariant_values(view->signature_size <= CERTIFICATE_SIGNATURE_SIZE_MAX, view->signature_size,
                     0);
    invariant_values(view->chain_size <= CERTIFICATE_CHAIN_SIZE_MAX, view->chain_size, 0);
    const struct sizes sizes = {.signature = (uint16_t)view->signature_size,
                                .chain = view->chain_size};
    size_t at = 0;
    memcpy(out_bytes, &view->record, sizeof view->record);
    at += sizeof view->record;
    memcpy(out_bytes + at, &sizes, sizeof sizes);
    at += sizeof sizes;
    if (view->signature_size > 0)
        memcpy(out_bytes + at, view->signature, view->signature_size);
    at += view->signature_size;
    if (view->chain_size > 0)
        memcpy(out_bytes + at, view->chain, view->chain_size);
    at += view->chain_size;
    const size_t size = padded(at);
    memset(out_bytes + at, 0, size - at);
    digest_of(out_bytes, size, out_bytes + size);
    return size + CERTIFICATE_DIGEST_SIZE;
}

static bool record_is_sound(const struct certificate_record *record)
{
    return record->size == sizeof *record && record->mode <= DURABILITY_DEGRADED &&
           record->policy <= DURABILITY_OPERATOR && record->rule <= CERTIFICATE_SITE &&
           record->reserved_0 == 0 &&
           bytes_are_zero(record->reserved_1, sizeof record->reserved_1) &&
           record->cluster_epoch != 0 && record->node_id != 0 && record->node_id <= INT64_MAX &&
           record->term != 0 && record->sequence != 0 && record->index != 0 &&
           record->index_term != 0 && record->index_term <= record->term &&
           record->both_index <= record->index && record->number <= record->log_number;
}

/* First of all: what else there is, and how long it may be, depends on it. */
static enum status check_version(const uint8_t *bytes, size_t size)
{
    uint16_t version;
    const size_t offset = offsetof(struct certificate_record, version);
    if (size < offset + sizeof version || memcmp(bytes, magic, sizeof magic) != 0)
        return STATUS_INVALID;
    memcpy(&version, bytes + offset, sizeof version);
    if (version == CERTIFICATE_VERSION)
        return STATUS_OK;
    return version > 0 ? STATUS_VERSION : STATUS_INVALID;
}

enum status certificate_decode(const void *bytes, size_t size, struct certificate_view *out)
{
    struct certificate_view view;
    struct sizes sizes;
    const uint8_t *at = bytes;
    const enum status status = check_version(at, size);
    memset(&view, 0, sizeof view);
    if (status != STATUS_OK)
        return status;
    if (size < CERTIFICATE_FIXED_SIZE || size > CERTIFICATE_SIZE_MAX || size % 8 != 0)
        return STATUS_INVALID;
    memcpy(&view.record, at, sizeof view.record);
    memcpy(&sizes, at + sizeof view.record, sizeof sizes);
    if (!record_is_sound(&view.record) || sizes.reserved != 0 ||
        sizes.signature > CERTIFICATE_SIGNATURE_SIZE_MAX ||
        sizes.chain > CERTIFICATE_CHAIN_SIZE_MAX)
        return STATUS_INVALID;
    const size_t used = sizeof view.record + sizeof sizes + sizes.signature + sizes.chain;
    const size_t sealed = size - CERTIFICATE_DIGEST_SIZE;
    if (padded(used) != sealed || !bytes_are_zero(at + used, sealed - used))
        return STATUS_INVALID;
    uint8_t digest[HASH_SIZE];
    digest_of(at, sealed, digest);
    if (memcmp(digest, at + sealed, sizeof digest) != 0)
        return STATUS_INVALID;
    view.signature = at + sizeof view.record + sizeof sizes;
    view.signature_size = sizes.signature;
    view.chain = view.signature + sizes.signature;
    view.chain_size = sizes.chain;
    *out = view;
    return STATUS_OK;
}

bool certificate_is_newer(const struct certificate_record *a, const struct certificate_record *b)
{
    if (a->cluster_epoch != b->cluster_epoch)
        return a->cluster_epoch > b->cluster_epoch;
    if (a->term != b->term)
        return a->term > b->term;
    return a->sequence > b->sequence;
}

const char *certificate_rule_name(uint8_t rule)
{
    return rule == CERTIFICATE_SITE ? "site" : "majority";
}
