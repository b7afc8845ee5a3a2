/*
 * Making certificates: a private CA, node certificates and client certificates, ECDSA P-256. Files
 * are never overwritten; keys get mode 0600.
 */
#ifndef TALLY_CLIENT_CLI_CERTIFICATE_H
#define TALLY_CLIENT_CLI_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct certificate_error {
    char text[512]; /* what, where, what to do */
};

struct certificate_pair; /* a certificate and its private key */

struct certificate_options {
    const char *common_name;
    const char *uri;          /* the one URI SAN; NULL for a CA */
    const char *const *hosts; /* DNS names and IP addresses for the SAN; servers only */
    size_t host_count;
    bool server; /* extended key usage: server as well as client */
    uint32_t days;
};

/* A self-signed CA. NULL with *out_error. */
struct certificate_pair *certificate_create_ca(const char *common_name, uint32_t days,
                                               struct certificate_error *out_error);
/* A new key and a certificate over it, signed by `ca`, not valid beyond it. */
struct certificate_pair *certificate_issue(const struct certificate_pair *ca,
                                           const struct certificate_options *options,
                                           struct certificate_error *out_error);
/* Reads two PEM files and checks that they belong together. */
struct certificate_pair *certificate_load(const char *certificate_file, const char *key_file,
                                          struct certificate_error *out_error);
/* What a certificate says of itself; the first one of a PEM file. False with *out_error. */
struct certificate_facts {
    char name[256]; /* its first URI, otherwise the common name; printable ASCII */
    int64_t ends_s; /* notAfter, seconds since 1970 */
};
bool certificate_read(const char *file, struct certificate_facts *out,
                      struct certificate_error *out_error);
void certificate_destroy(struct certificate_pair *pair);

/* PEM text, malloc'ed; the key unencrypted in PKCS#8. NULL when out of memory. */
char *certificate_pem(const struct certificate_pair *pair);
char *certificate_key_pem(const struct certificate_pair *pair);

#endif
