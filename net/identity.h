/*
 * Who a certificate speaks for: exactly one URI in its subject alternative names, as SPIFFE
 * demands. Nothing else in a certificate names a caller: not the subject, not a DNS name.
 */
#ifndef TALLY_NET_IDENTITY_H
#define TALLY_NET_IDENTITY_H

#include "core/bounds.h"
#include "core/status.h"
#include "net/error.h"

struct x509_st; /* OpenSSL's X509 */

struct identity {
    char uri[URI_SIZE_MAX + 1]; /* zero-terminated, printable ASCII without spaces; "" = none */
};

/* STATUS_OK, or STATUS_INVALID with the reason: no URI SAN, several, one that is empty, too long or
 * holds a byte outside 0x21..0x7e (a NUL could hide the rest of the name, a newline forge a log
 * line). The certificate's signature is not looked at here: TLS has verified it. Any thread. */
enum status identity_of_certificate(const struct x509_st *certificate,
                                    struct identity *out_identity, struct net_error *out_error);

/* The same of the first certificate in a PEM file. STATUS_NOT_FOUND or STATUS_INVALID; *out_error
 * names the file. */
enum status identity_of_file(const char *path, struct identity *out_identity,
                             struct net_error *out_error);

#endif
