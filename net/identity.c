/*
 * The identity of a peer. Rejecting every doubt here keeps authorization above simple: what it is
 * given is one printable name. A certificate with two URIs is refused rather than ordered, because
 * which of them counts would depend on who reads it.
 */
#include "net/identity.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static enum status identity_of_uri(const ASN1_STRING *uri, struct identity *identity,
                                   struct net_error *error)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(uri);
    int size = ASN1_STRING_length(uri);
    if (size <= 0) {
        net_error_set(error, "the certificate's URI SAN is empty");
        return STATUS_INVALID;
    }
    if (size > URI_SIZE_MAX) {
        net_error_set(error, "the certificate's URI SAN has %d bytes, at most %d are allowed", size,
                      URI_SIZE_MAX);
        return STATUS_INVALID;
    }
    for (int i = 0; i < size; i++) {
        if (bytes[i] < 0x21 || bytes[i] > 0x7e) {
            net_error_set(error,
                          "the certificate's URI SAN holds byte 0x%02x at offset %d; only "
                          "printable ASCII without spaces is allowed",
                          bytes[i], i);
            return STATUS_INVALID;
        }
    }
    memset(identity, 0, sizeof *identity);
    memcpy(identity->uri, bytes, (size_t)size);
    return STATUS_OK;
}

enum status identity_of_certificate(const struct x509_st *certificate,
                                    struct identity *out_identity, struct net_error *out_error)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, &critical, NULL);
    if (!names) {
        /* -1: no such extension; -2: several of them; otherwise it does not parse. */
        net_error_set(out_error, critical == -1
                                     ? "the certificate has no subject alternative name; it "
                                       "needs exactly one URI SAN"
                                     : "the certificate's subject alternative name cannot be read");
        return STATUS_INVALID;
    }
    const ASN1_STRING *uri = NULL;
    int uri_count = 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI)
            continue;
        uri = name->d.uniformResourceIdentifier;
        uri_count++;
    }
    enum status status = STATUS_INVALID;
    if (uri_count != 1)
        net_error_set(out_error, "the certificate has %d URI SANs; it needs exactly one",
                      uri_count);
    else
        status = identity_of_uri(uri, out_identity, out_error);
    GENERAL_NAMES_free(names);
    return status;
}

enum status identity_of_file(const char *path, struct identity *out_identity,
                             struct net_error *out_error)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        net_error_set(out_error, "%s cannot be opened", path);
        return STATUS_NOT_FOUND;
    }
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    (void)fclose(file); /* was only read */
    if (!certificate) {
        net_error_set(out_error, "%s holds no certificate in PEM", path);
        return STATUS_INVALID;
    }
    struct net_error error;
    enum status status = identity_of_certificate(certificate, out_identity, &error);
    if (status != STATUS_OK)
        net_error_set(out_error, "%s: %s", path, error.text);
    X509_free(certificate);
    return status;
}
