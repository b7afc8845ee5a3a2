/* A small authority: P-256 keys, SHA-256, names from a line as in openssl.cnf. */
#include "pki.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pki {
    char directory[200];
    EVP_PKEY *key;
    X509 *certificate;
    long serial;
};

static void need(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "tests/net/pki: %s failed\n", what);
    abort();
}

static FILE *open_file(const struct pki *pki, const char *name, const char *suffix,
                       const char *mode)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s%s", pki->directory, name, suffix);
    FILE *file = fopen(path, mode);
    need(file != NULL, path);
    return file;
}

static void write_certificate(const struct pki *pki, const char *name, X509 *certificate)
{
    FILE *file = open_file(pki, name, ".pem", "w");
    need(PEM_write_X509(file, certificate) == 1, "writing a certificate");
    fclose(file);
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    need(extension != NULL, value);
    need(X509_add_ext(certificate, extension, -1) == 1, "adding an extension");
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(struct pki *pki, EVP_PKEY *key, const char *common_name, int from_s,
                              int to_s)
{
    X509 *certificate = X509_new();
    need(certificate != NULL, "X509_new");
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++pki->serial);
    X509_gmtime_adj(X509_getm_notBefore(certificate), from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), to_s);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1,
                               0);
    X509_set_issuer_name(certificate,
                         pki->certificate ? X509_get_subject_name(pki->certificate) : name);
    return certificate;
}

struct pki *pki_create(const char *directory, const char *name)
{
    struct pki *pki = calloc(1, sizeof *pki);
    need(pki != NULL, "calloc");
    (void)snprintf(pki->directory, sizeof pki->directory, "%s", directory);
    pki->key = EVP_EC_gen("P-256");
    need(pki->key != NULL, "generating a key");
    X509 *certificate = make_certificate(pki, pki->key, name, -3600, 86400);
    add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE");
    add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    need(X509_sign(certificate, pki->key, EVP_sha256()) > 0, "signing");
    pki->certificate = certificate;
    write_certificate(pki, name, certificate);
    return pki;
}

void pki_issue(struct pki *pki, const struct pki_certificate *wanted)
{
    bool is_default = wanted->valid_from_s == 0 && wanted->valid_to_s == 0;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    need(key != NULL, "generating a key");
    X509 *certificate =
        make_certificate(pki, key, wanted->file, is_default ? -60 : wanted->valid_from_s,
                         is_default ? 3600 : wanted->valid_to_s);
    add_extension(certificate, pki->certificate, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(certificate, pki->certificate, NID_ext_key_usage,
                  wanted->client_only   ? "clientAuth"
                  : wanted->server_only ? "serverAuth"
                                        : "clientAuth,serverAuth");
    if (wanted->alternative_names)
        add_extension(certificate, pki->certificate, NID_subject_alt_name,
                      wanted->alternative_names);
    need(X509_sign(certificate, pki->key, EVP_sha256()) > 0, "signing");
    write_certificate(pki, wanted->file, certificate);
    FILE *file = open_file(pki, wanted->file, ".key", "w");
    need(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1, "writing a key");
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void pki_revoke(struct pki *pki, const char *file_name, const char *revoked)
{
    X509_CRL *list = X509_CRL_new();
    need(list != NULL, "X509_CRL_new");
    X509_CRL_set_version(list, 1);
    X509_CRL_set_issuer_name(list, X509_get_subject_name(pki->certificate));
    ASN1_TIME *time = ASN1_TIME_new();
    X509_gmtime_adj(time, -60);
    X509_CRL_set1_lastUpdate(list, time);
    if (revoked) {
        FILE *file = open_file(pki, revoked, ".pem", "r");
        X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        need(certificate != NULL, revoked);
        X509_REVOKED *entry = X509_REVOKED_new();
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate));
        X509_REVOKED_set_revocationDate(entry, time);
        need(X509_CRL_add0_revoked(list, entry) == 1, "revoking");
        X509_free(certificate);
    }
    X509_gmtime_adj(time, 3600);
    X509_CRL_set1_nextUpdate(list, time);
    ASN1_TIME_free(time);
    need(X509_CRL_sign(list, pki->key, EVP_sha256()) > 0, "signing a list");
    FILE *file = open_file(pki, file_name, ".pem", "w");
    need(PEM_write_X509_CRL(file, list) == 1, "writing a list");
    fclose(file);
    X509_CRL_free(list);
}

void pki_destroy(struct pki *pki)
{
    if (!pki)
        return;
    X509_free(pki->certificate);
    EVP_PKEY_free(pki->key);
    free(pki);
}
