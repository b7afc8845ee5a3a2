/*
 * The identity of a request: what makes repeating safe. The nonce is random, never derived from
 * content: two requests with equal content are two requests, and only their sender knows whether he
 * means a second one or the first again.
 */
#include "client/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum tally_status tally_identity_new(struct tally_identity *out)
{
    struct tally_identity identity;
    struct timespec now;
    size_t filled = 0;
    while (filled < sizeof identity.nonce) {
        ssize_t got = getrandom(identity.nonce + filled, sizeof identity.nonce - filled, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return TALLY_SYSTEM;
        filled += (size_t)got;
    }
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0)
        return TALLY_SYSTEM;
    identity.issued_at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    *out = identity;
    return TALLY_OK;
}

void tally_identity_format(const struct tally_identity *identity, char out[TALLY_IDENTITY_SIZE])
{
    struct tally_id nonce;
    memcpy(nonce.bytes, identity->nonce, sizeof nonce.bytes);
    tally_id_format(&nonce, out);
    snprintf(out + 32, TALLY_IDENTITY_SIZE - 32, ":%" PRIu64, identity->issued_at_ns);
}

enum tally_status tally_identity_parse(const char *text, struct tally_identity *out,
                                       struct tally_error *out_error)
{
    static const char shape[] = "expected NONCE:ISSUED_AT_NS, 32 hex digits and a decimal number, "
                                "as printed when the request was made";
    struct tally_id nonce;
    char shown[EXCERPT_SIZE];
    size_t size = strlen(text);
    uint64_t issued = 0;

    excerpt(text, size, shown);
    if (size < 34 || text[32] != ':')
        return error_set(out_error, TALLY_INVALID, "identity \"%s\": %s", shown, shape);
    if (tally_id_parse(text, 32, &nonce, NULL) != TALLY_OK)
        return error_set(out_error, TALLY_INVALID, "identity \"%s\": %s", shown, shape);
    for (const char *at = text + 33; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || issued > (UINT64_MAX - (uint64_t)(*at - '0')) / 10)
            return error_set(out_error, TALLY_INVALID, "identity \"%s\": %s", shown, shape);
        issued = issued * 10 + (uint64_t)(*at - '0');
    }
    memcpy(out->nonce, nonce.bytes, sizeof out->nonce);
    out->issued_at_ns = issued;
    return TALLY_OK;
}
