/* Identity: certificates made here, with every kind of wrong name. */
#include "net/identity.h"

#include <criterion/criterion.h>
#include <openssl/x509v3.h>
#include <string.h>

TestSuite(identity, .timeout = 20);

static void add_name(GENERAL_NAMES *names, int type, const void *bytes, int size)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, bytes, size);
    GENERAL_NAME_set0_value(name, type, text);
    sk_GENERAL_NAME_push(names, name);
}

/* An unsigned certificate with up to two URIs of any bytes and, when asked, a DNS name. */
static X509 *certificate_with(const void *first, int first_size, const void *second,
                              int second_size, const char *dns)
{
    X509 *certificate = X509_new();
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    if (dns)
        add_name(names, GEN_DNS, dns, (int)strlen(dns));
    if (first)
        add_name(names, GEN_URI, first, first_size);
    if (second)
        add_name(names, GEN_URI, second, second_size);
    cr_assert_eq(X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
    return certificate;
}

static void expect_refused(X509 *certificate, const char *words)
{
    struct identity identity = {.uri = "untouched"};
    struct net_error error;
    cr_assert_eq(identity_of_certificate(certificate, &identity, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, words), "%s", error.text);
    cr_assert_str_eq(identity.uri, "untouched");
    X509_free(certificate);
}

Test(identity, is_the_one_uri_beside_any_other_names)
{
    const char *uri = "spiffe://bank.example/channel/mobile";
    X509 *certificate = certificate_with(uri, (int)strlen(uri), NULL, 0, "mobile.example");
    struct identity identity;
    struct net_error error;
    cr_assert_eq(identity_of_certificate(certificate, &identity, &error), STATUS_OK);
    cr_assert_str_eq(identity.uri, uri);
    X509_free(certificate);
}

Test(identity, of_255_bytes_is_taken_and_of_256_refused)
{
    char uri[256];
    memset(uri, 'u', sizeof uri);
    struct identity identity;
    struct net_error error;
    X509 *certificate = certificate_with(uri, 255, NULL, 0, NULL);
    cr_assert_eq(identity_of_certificate(certificate, &identity, &error), STATUS_OK);
    cr_assert_eq(strlen(identity.uri), 255);
    X509_free(certificate);
    expect_refused(certificate_with(uri, 256, NULL, 0, NULL), "256 bytes");
}

Test(identity, is_missing_without_names)
{
    expect_refused(X509_new(), "no subject alternative name");
}

Test(identity, is_missing_with_a_dns_name_only)
{
    expect_refused(certificate_with(NULL, 0, NULL, 0, "a.example"), "0 URI SANs");
}

Test(identity, of_two_uris_is_none_even_when_they_are_equal)
{
    expect_refused(certificate_with("a:b", 3, "a:c", 3, NULL), "2 URI SANs");
    expect_refused(certificate_with("a:b", 3, "a:b", 3, NULL), "2 URI SANs");
}

/* "spiffe://bank/admin\0.evil" must not read as "spiffe://bank/admin". */
Test(identity, with_a_nul_inside_is_refused)
{
    expect_refused(certificate_with("a:admin\0.evil", 13, NULL, 0, NULL), "byte 0x00 at offset 7");
}

Test(identity, with_bytes_that_could_forge_a_log_line_is_refused)
{
    expect_refused(certificate_with("a:b\nroot", 8, NULL, 0, NULL), "0x0a");
    expect_refused(certificate_with("a:b c", 5, NULL, 0, NULL), "0x20");
    expect_refused(certificate_with("a:\xc3\xa4", 4, NULL, 0, NULL), "0xc3");
    expect_refused(certificate_with("a:\x7f", 3, NULL, 0, NULL), "0x7f");
}

Test(identity, that_is_empty_is_refused)
{
    expect_refused(certificate_with("", 0, NULL, 0, NULL), "empty");
}
