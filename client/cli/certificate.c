/*
 * Certificates by OpenSSL's API. Each name that a node or client may carry is decided here: one URI
 * (spiffe://tallystick/ROLE/NAME) says who it is, DNS names and addresses only where it is.
 *
 * The CA may sign nothing but end certificates (path length 0); end certificates may sign no
 * certificates. notBefore lies five minutes back, so that a machine whose clock is a little behind
 * accepts what was made a moment ago.
 */
#include "client/cli/certificate.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct certificate_pair {
    X509 *certificate;
    EVP_PKEY *key;
};

static void set_error(struct certificate_error *error, const char *what)
{
    char reason[160] = "";
    unsigned long code = ERR_peek_last_error();
    if (code != 0)
        ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    snprintf(error->text, sizeof error->text, "%s%s%s", what, code != 0 ? ": " : "", reason);
}

void certificate_destroy(struct certificate_pair *pair)
{
    if (pair == NULL)
        return;
    X509_free(pair->certificate);
    EVP_PKEY_free(pair->key);
    free(pair);
}

/* ---- parts of a certificate ---- */

static bool set_serial(X509 *certificate)
{
    uint8_t bytes[20];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] &= 0x7f; /* positive */
    bytes[0] |= 0x40; /* and of full length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool set =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return set;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
    return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Tallystick",
                                      -1, -1, 0) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name,
                                      -1, -1, 0) == 1;
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    bool added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool push_name(GENERAL_NAMES *names, int type, const void *bytes, int size)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = type == GEN_IPADD ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (name == NULL || value == NULL || ASN1_STRING_set(value, bytes, size) != 1)
        goto fail;
    GENERAL_NAME_set0_value(name, type, value);
    value = NULL;
    if (sk_GENERAL_NAME_push(names, name) > 0)
        return true;
fail:
    ASN1_STRING_free(value);
    GENERAL_NAME_free(name);
    return false;
}

static bool push_host(GENERAL_NAMES *names, const char *host)
{
    uint8_t address[16];
    if (inet_pton(AF_INET, host, address) == 1)
        return push_name(names, GEN_IPADD, address, 4);
    if (inet_pton(AF_INET6, host, address) == 1)
        return push_name(names, GEN_IPADD, address, 16);
    return push_name(names, GEN_DNS, host, (int)strlen(host));
}

/* Built by hand rather than from text: a comma in a name must not become a second name. */
static bool add_names(X509 *certificate, const struct certificate_options *options)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    bool added =
        names != NULL && push_name(names, GEN_URI, options->uri, (int)strlen(options->uri));
    for (size_t i = 0; i < options->host_count && added; i++)
        added = push_host(names, options->hosts[i]);
    added = added && X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return added;
}

static bool set_validity(X509 *certificate, uint32_t days, X509 *issuer)
{
    if (X509_gmtime_adj(X509_getm_notBefore(certificate), -300) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(certificate), (int)days, 0, NULL) == NULL)
        return false;
    if (issuer == certificate)
        return true;
    int left_days, left_seconds;
    if (ASN1_TIME_diff(&left_days, &left_seconds, X509_get0_notAfter(issuer),
                       X509_get0_notAfter(certificate)) != 1)
        return false;
    return (left_days < 0 || left_seconds < 0)
               ? true
               : X509_set1_notAfter(certificate, X509_get0_notAfter(issuer)) == 1;
}

/* ---- whole certificates ---- */

/* A pair with a new key and everything that a CA and an end certificate share. `issuer` NULL: its
 * own. */
static struct certificate_pair *begin(const char *common_name, uint32_t days,
                                      const struct certificate_pair *issuer,
                                      struct certificate_error *out_error)
{
    struct certificate_pair *pair = calloc(1, sizeof *pair);
    if (pair == NULL) {
        set_error(out_error, "out of memory");
        return NULL;
    }
    pair->key = EVP_EC_gen("P-256");
    pair->certificate = X509_new();
    X509 *from = issuer != NULL ? issuer->certificate : pair->certificate;
    if (pair->key == NULL || pair->certificate == NULL ||
        X509_set_version(pair->certificate, X509_VERSION_3) != 1 ||
        !set_serial(pair->certificate) ||
        !set_name(X509_get_subject_name(pair->certificate), common_name) ||
        X509_set_issuer_name(pair->certificate, X509_get_subject_name(from)) != 1 ||
        !set_validity(pair->certificate, days, from) ||
        X509_set_pubkey(pair->certificate, pair->key) != 1 ||
        !add_extension(pair->certificate, from, NID_subject_key_identifier, "hash") ||
        !add_extension(pair->certificate, from, NID_authority_key_identifier, "keyid:always")) {
        set_error(out_error, "cannot make a certificate");
        certificate_destroy(pair);
        return NULL;
    }
    return pair;
}

struct certificate_pair *certificate_create_ca(const char *common_name, uint32_t days,
                                               struct certificate_error *out_error)
{
    struct certificate_pair *ca = begin(common_name, days, NULL, out_error);
    if (ca == NULL)
        return NULL;
    if (!add_extension(ca->certificate, ca->certificate, NID_basic_constraints,
                       "critical,CA:TRUE,pathlen:0") ||
        !add_extension(ca->certificate, ca->certificate, NID_key_usage,
                       "critical,keyCertSign,cRLSign") ||
        X509_sign(ca->certificate, ca->key, EVP_sha256()) == 0) {
        set_error(out_error, "cannot sign the CA's certificate");
        certificate_destroy(ca);
        return NULL;
    }
    return ca;
}

struct certificate_pair *certificate_issue(const struct certificate_pair *ca,
                                           const struct certificate_options *options,
                                           struct certificate_error *out_error)
{
    struct certificate_pair *pair = begin(options->common_name, options->days, ca, out_error);
    if (pair == NULL)
        return NULL;
    if (!add_extension(pair->certificate, ca->certificate, NID_basic_constraints,
                       "critical,CA:FALSE") ||
        !add_extension(pair->certificate, ca->certificate, NID_key_usage,
                       "critical,digitalSignature") ||
        !add_extension(pair->certificate, ca->certificate, NID_ext_key_usage,
                       options->server ? "serverAuth,clientAuth" : "clientAuth") ||
        !add_names(pair->certificate, options) ||
        X509_sign(pair->certificate, ca->key, EVP_sha256()) == 0) {
        set_error(out_error, "cannot sign the certificate");
        certificate_destroy(pair);
        return NULL;
    }
    return pair;
}

struct certificate_pair *certificate_load(const char *certificate_file, const char *key_file,
                                          struct certificate_error *out_error)
{
    char what[384];
    struct certificate_pair *pair = calloc(1, sizeof *pair);
    BIO *certificate = BIO_new_file(certificate_file, "r");
    BIO *key = BIO_new_file(key_file, "r");
    static char no_passphrase[] = "";

    snprintf(what, sizeof what, "out of memory");
    if (pair == NULL)
        goto fail;
    snprintf(what, sizeof what, "cannot read certificate %s", certificate_file);
    if (certificate == NULL ||
        (pair->certificate = PEM_read_bio_X509(certificate, NULL, NULL, NULL)) == NULL)
        goto fail;
    snprintf(what, sizeof what, "cannot read key %s (PEM without a passphrase)", key_file);
    if (key == NULL ||
        (pair->key = PEM_read_bio_PrivateKey(key, NULL, NULL, no_passphrase)) == NULL)
        goto fail;
    snprintf(what, sizeof what, "%s is not the key of %s", key_file, certificate_file);
    if (X509_check_private_key(pair->certificate, pair->key) != 1)
        goto fail;
    snprintf(what, sizeof what, "%s has expired; make a new CA in another directory",
             certificate_file);
    if (X509_cmp_current_time(X509_get0_notAfter(pair->certificate)) <= 0)
        goto fail;
    BIO_free(certificate);
    BIO_free(key);
    return pair;
fail:
    set_error(out_error, what);
    BIO_free(certificate);
    BIO_free(key);
    certificate_destroy(pair);
    return NULL;
}

static void read_name(X509 *certificate, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    snprintf(out, size, "%s", "");
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && out[0] == '\0'; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_URI)
            snprintf(out, size, "%.*s", ASN1_STRING_length(name->d.uniformResourceIdentifier),
                     (const char *)ASN1_STRING_get0_data(name->d.uniformResourceIdentifier));
    }
    GENERAL_NAMES_free(names);
    if (out[0] == '\0' && X509_NAME_get_text_by_NID(X509_get_subject_name(certificate),
                                                    NID_commonName, out, (int)size) < 0)
        snprintf(out, size, "-");
    for (char *at = out; *at != '\0'; at++)
        if (*at < 0x20 || *at > 0x7e)
            *at = '?';
}

bool certificate_read(const char *file, struct certificate_facts *out,
                      struct certificate_error *out_error)
{
    struct tm ends = {0};
    char what[384];
    BIO *bio = BIO_new_file(file, "r");
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool read = certificate != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &ends) == 1;
    if (read) {
        read_name(certificate, out->name, sizeof out->name);
        out->ends_s = timegm(&ends);
    } else {
        snprintf(what, sizeof what, "cannot read certificate %s", file);
        set_error(out_error, what);
    }
    X509_free(certificate);
    BIO_free(bio);
    return read;
}

static char *take_text(BIO *bio)
{
    char *bytes;
    long size = BIO_get_mem_data(bio, &bytes);
    return size > 0 ? strndup(bytes, (size_t)size) : NULL;
}

char *certificate_pem(const struct certificate_pair *pair)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text =
        bio != NULL && PEM_write_bio_X509(bio, pair->certificate) == 1 ? take_text(bio) : NULL;
    BIO_free(bio);
    return text;
}

char *certificate_key_pem(const struct certificate_pair *pair)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text =
        bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, pair->key, NULL, NULL, 0, NULL, NULL) == 1
            ? take_text(bio)
            : NULL;
    BIO_free(bio);
    return text;
}
