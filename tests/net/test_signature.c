/* Signatures under the TLS key: what is signed is proven with the CA file alone, and nothing else
 * passes. */
#include "core/bounds.h"
#include "net/signature.h"
#include "tests/net/pki.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

TestSuite(signature, .timeout = 60);

static char directory[64];
static struct pki *pki;

static const char *path(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *out = paths[next++ % 8];
    snprintf(out, sizeof paths[0], "%s/%s", directory, name);
    return out;
}

static void set_up(void)
{
    strcpy(directory, "/tmp/signature-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    pki = pki_create(directory, "ca");
    pki_issue(pki, &(struct pki_certificate){.file = "node",
                                             .alternative_names =
                                                 "URI:spiffe://tallystick/node/1,DNS:localhost"});
}

static void tear_down(void)
{
    char command[128];
    pki_destroy(pki);
    snprintf(command, sizeof command, "rm -r %s", directory);
    cr_assert_eq(system(command), 0);
}

static const uint8_t text[] = "tally.test: pay 5 to Bob";

struct signed_text {
    uint8_t bytes[sizeof text];
    uint8_t signature[SIGNATURE_SIZE_MAX];
    uint8_t chain[SIGNATURE_CHAIN_SIZE_MAX];
    struct signature_check check;
};

static void sign(const char *name, struct signed_text *out)
{
    struct signer *signer;
    struct net_error error;
    char certificate[16], key[16];
    const uint8_t *chain;
    size_t size = 0;
    snprintf(certificate, sizeof certificate, "%s.pem", name);
    snprintf(key, sizeof key, "%s.key", name);
    cr_assert_eq(signer_create(path(certificate), path(key), &signer, &error), STATUS_OK, "%s",
                 error.text);
    memcpy(out->bytes, text, sizeof text);
    cr_assert_eq(signer_sign(signer, out->bytes, sizeof text, out->signature, &size), STATUS_OK);
    size_t chain_size = signer_chain(signer, &chain);
    memcpy(out->chain, chain, chain_size);
    signer_destroy(signer);
    out->check = (struct signature_check){.ca_file = path("ca.pem"),
                                          .at_s = time(NULL),
                                          .bytes = out->bytes,
                                          .size = sizeof text,
                                          .signature = out->signature,
                                          .signature_size = size,
                                          .chain = out->chain,
                                          .chain_size = chain_size};
}

/* Signed with the node's key, checked with the authority alone: good, and who it was is told. */
Test(signature, is_proven_with_the_authority_alone, .init = set_up, .fini = tear_down)
{
    struct signed_text about;
    struct net_error error;
    char uri[URI_SIZE_MAX + 1];
    sign("node", &about);
    cr_assert_eq(signature_verify(&about.check, uri, &error), STATUS_OK, "%s", error.text);
    cr_assert_str_eq(uri, "spiffe://tallystick/node/1");
}

/* Every bit of what was signed, of the signature, and of the certificate it hangs on. */
Test(signature, changing_anything_is_found, .init = set_up, .fini = tear_down)
{
    struct signed_text about;
    struct net_error error;
    char uri[URI_SIZE_MAX + 1];
    sign("node", &about);
    uint8_t *const parts[] = {about.bytes, about.signature, about.chain};
    const size_t sizes[] = {about.check.size, about.check.signature_size, about.check.chain_size};
    for (int part = 0; part < 3; part++)
        for (size_t at = 0; at < sizes[part]; at += part == 2 ? 7 : 1) {
            parts[part][at] ^= 0x10;
            cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED,
                         "part %d byte %zu", part, at);
            parts[part][at] ^= 0x10;
        }
    about.check.size--;
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED);
    about.check.size++;
    about.check.chain_size--;
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED);
    about.check.chain_size = 0;
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED);
}

/* Another authority; a signer whose certificate was not valid then; files that are none. */
Test(signature, another_authority_or_time_is_refused, .init = set_up, .fini = tear_down)
{
    struct signed_text about;
    struct net_error error;
    char uri[URI_SIZE_MAX + 1];
    sign("node", &about);
    struct pki *other = pki_create(directory, "other");
    about.check.ca_file = path("other.pem");
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED);
    cr_expect_not_null(strstr(error.text, "does not lead to an authority"), "%s", error.text);
    pki_destroy(other);
    about.check.ca_file = path("ca.pem");
    about.check.at_s += 7200;
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_DENIED);
    about.check.at_s -= 7200;
    about.check.ca_file = path("nowhere.pem");
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_NOT_FOUND);
    about.check.ca_file = path("node.key");
    cr_expect_eq(signature_verify(&about.check, uri, &error), STATUS_INVALID);
}

/* What a node would be started with by mistake. */
Test(signature, a_signer_needs_a_key_that_fits, .init = set_up, .fini = tear_down)
{
    struct signer *signer;
    struct net_error error;
    pki_issue(pki, &(struct pki_certificate){.file = "bob", .alternative_names = "URI:bank:bob"});
    cr_expect_eq(signer_create(path("node.pem"), path("bob.key"), &signer, &error), STATUS_INVALID);
    cr_expect_eq(signer_create(path("node.key"), path("node.key"), &signer, &error),
                 STATUS_INVALID);
    cr_expect_eq(signer_create(path("node.pem"), path("node.pem"), &signer, &error),
                 STATUS_INVALID);
    cr_expect_eq(signer_create(path("none.pem"), path("node.key"), &signer, &error),
                 STATUS_NOT_FOUND);
    cr_expect_eq(signer_create(path("node.pem"), path("none.key"), &signer, &error),
                 STATUS_NOT_FOUND);
}
