/*
 * Contributions to the replica digest.
 *
 * Each fact is hashed over its record in final format, with its kind and a number that binds it to
 * its place (the ordinal of an account or principal; transfers and requests carry a unique stamp).
 * The hash multiplies 64 x 64 -> 128 bits per 16 bytes: the two halves of the state meet the two
 * words in a multiplication, and the words are added again to its halves so that a factor of zero
 * cannot swallow the other word. Two lanes over alternate blocks let the processor overlap
 * multiplications; a transfer costs about 10 ns. Every record is a multiple of 8 bytes without
 * padding, reserved bytes zero, so the bytes are the logical value.
 *
 * What is in the sum, and when it leaves it:
 *
 *   transfers   added when made, never subtracted
 *   requests    likewise: a request stays in the digest after the window has forgotten it, since
 *               the moment at which storage drops its record is local to a node
 *   accounts    added when opened; they never change
 *   balances    as they are now; the old contribution is kept beside the balance
 *   principals  as they are now; a changed row is subtracted and added again
 *   ledgers     as they are now, added at the moment of asking: they are few, and their totals
 *               change with every transfer
 */
#include "core/digest.h"

enum digest_kind {
    DIGEST_TRANSFER = 1,
    DIGEST_ACCOUNT = 2,
    DIGEST_BALANCE = 3,
    DIGEST_LEDGER = 4,
    DIGEST_PRINCIPAL = 5,
    DIGEST_REQUEST = 6,
    DIGEST_ANSWER = 7,
};

/* The first 384 bits of the fraction of pi: numbers with nothing up their sleeve. */
#define K0 0x243f6a8885a308d3u
#define K1 0x13198a2e03707344u
#define K2 0xa4093822299f31d0u
#define K3 0x082efa98ec4e6c89u
#define K4 0x452821e638d01377u
#define K5 0xbe5466cf34e90c6cu

struct lane {
    uint64_t low;
    uint64_t high;
};

static inline void lane_mix(struct lane *lane, uint64_t first, uint64_t second)
{
    u128 product = (u128)(lane->low ^ first) * (lane->high ^ second);
    lane->low = u128_low(product) + (second ^ K4);
    lane->high = u128_high(product) + (first ^ K5);
}

static inline uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline u128 digest_bytes(enum digest_kind kind, uint64_t place, const void *bytes,
                                size_t size)
{
    const uint8_t *next = bytes;
    struct lane lane[2] = {
        {.low = K0 ^ place, .high = K1 ^ (uint64_t)kind},
        {.low = K2 ^ place, .high = K3 ^ size},
    };
    size_t left = size;
    for (; left >= 32; left -= 32, next += 32) {
        lane_mix(&lane[0], word_at(next), word_at(next + 8));
        lane_mix(&lane[1], word_at(next + 16), word_at(next + 24));
    }
    if (left > 0) {
        uint64_t last[4] = {0};
        memcpy(last, next, left);
        lane_mix(&lane[0], last[0], last[1]);
        lane_mix(&lane[1], last[2], last[3]);
    }
    lane_mix(&lane[0], lane[1].low, lane[1].high);
    lane_mix(&lane[0], K2, K3);
    lane_mix(&lane[0], K0, K1);
    return u128_make(lane[0].low, lane[0].high);
}

u128 digest_transfer(const struct transfer_record *record)
{
    return digest_bytes(DIGEST_TRANSFER, 0, record, sizeof *record);
}

u128 digest_account(uint32_t ordinal, const struct account_record *record)
{
    return digest_bytes(DIGEST_ACCOUNT, ordinal, record, sizeof *record);
}

u128 digest_balance(uint32_t ordinal, const struct balance_record *record)
{
    return digest_bytes(DIGEST_BALANCE, ordinal, record, sizeof *record);
}

u128 digest_ledger(const struct ledger_record *record)
{
    return digest_bytes(DIGEST_LEDGER, 0, record, sizeof *record);
}

u128 digest_principal(uint32_t ordinal, const struct principal_record *record)
{
    return digest_bytes(DIGEST_PRINCIPAL, ordinal, record, sizeof *record);
}

u128 digest_request(const struct request_record *record, const uint8_t *answer)
{
    u128 of_answer = digest_bytes(DIGEST_ANSWER, 0, answer, record->answer_size);
    uint64_t place = u128_low(of_answer) ^ (u128_high(of_answer) * K3);
    return digest_bytes(DIGEST_REQUEST, place, record, sizeof *record);
}
