/*
 * Replication sees no OpenSSL, so the key is brought from here. After a reload the next certificate
 * is signed with the new key and comes with the new chain; those made before stay as they are, and
 * good: they carry the chain they were signed under.
 */
#include "server/daemon_signing.h"

#include "net/signature.h"

_Static_assert(CERTIFICATE_SIGNATURE_SIZE_MAX >= SIGNATURE_SIZE_MAX, "a signature fits");
_Static_assert(CERTIFICATE_CHAIN_SIZE_MAX >= SIGNATURE_CHAIN_SIZE_MAX, "a chain fits");

static enum status sign(void *context, const void *bytes, size_t size,
                        uint8_t out_signature[CERTIFICATE_SIGNATURE_SIZE_MAX], size_t *out_size)
{
    const struct daemon_signing *signing = context;
    return signer_sign(signing->signer, bytes, size, out_signature, out_size);
}

static size_t chain(void *context, const uint8_t **out_bytes)
{
    const struct daemon_signing *signing = context;
    return signer_chain(signing->signer, out_bytes);
}

enum status daemon_signing_open(struct daemon_signing *signing, const char *certificate_file,
                                const char *key_file, struct net_error *out_error)
{
    signing->table = (struct certificate_signer){.context = signing, .sign = sign, .chain = chain};
    return signer_create(certificate_file, key_file, &signing->signer, out_error);
}

enum status daemon_signing_reload(struct daemon_signing *signing, const char *certificate_file,
                                  const char *key_file, struct net_error *out_error)
{
    struct signer *fresh;
    enum status status = signer_create(certificate_file, key_file, &fresh, out_error);
    if (status != STATUS_OK)
        return status;
    signer_destroy(signing->signer);
    signing->signer = fresh;
    return STATUS_OK;
}

void daemon_signing_close(struct daemon_signing *signing)
{
    signer_destroy(signing->signer);
    signing->signer = NULL;
}
