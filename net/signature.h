/*
 * Signatures with the key that TLS uses, over bytes of ours, to be verified by whoever has only the
 * file of authorities. Not TLS: what is signed must begin with a name that no handshake signs.
 *
 * Any thread; a signer belongs to one at a time.
 */
#ifndef TALLY_NET_SIGNATURE_H
#define TALLY_NET_SIGNATURE_H

#include "core/status.h"
#include "net/error.h"

#include <stddef.h>
#include <stdint.h>

#define SIGNATURE_SIZE_MAX       512         /* RSA of 4096 bits; ECDSA is shorter */
#define SIGNATURE_CHAIN_SIZE_MAX (16 * 1024) /* DER of the certificates, one behind the other */

struct signer;

/* Key and certificates (the chain from our own upwards) from PEM files. STATUS_NOT_FOUND or
 * STATUS_IO: a file cannot be read. STATUS_INVALID: it holds something else, they do not belong
 * together, or signatures or chain would be larger than the bounds. STATUS_NO_MEMORY. */
enum status signer_create(const char *certificate_file, const char *key_file,
                          struct signer **out_signer, struct net_error *out_error);
void signer_destroy(struct signer *signer); /* NULL is allowed */

/* SHA-256 under the key. STATUS_NO_MEMORY, or STATUS_INVALID when the key cannot do it. */
enum status signer_sign(struct signer *signer, const void *bytes, size_t size,
                        uint8_t out_signature[SIGNATURE_SIZE_MAX], size_t *out_size);
/* Borrowed from the signer. */
size_t signer_chain(const struct signer *signer, const uint8_t **out_bytes);

struct signature_check {
    const char *ca_file;
    int64_t at_s; /* the certificates have to be valid then; seconds since 1970 */
    const void *bytes;
    size_t size;
    const uint8_t *signature;
    size_t signature_size;
    const uint8_t *chain;
    size_t chain_size;
};
/* STATUS_OK: the bytes were signed by the key of the chain's first certificate, which leads to an
 * authority of the file; *out_uri is the one URI it speaks for. STATUS_IO, STATUS_NOT_FOUND or
 * STATUS_INVALID for the file; STATUS_DENIED for anything about the signature, in words;
 * STATUS_NO_MEMORY. `out_uri` has URI_SIZE_MAX + 1 bytes. */
enum status signature_verify(const struct signature_check *check, char *out_uri,
                             struct net_error *out_error);

#endif
