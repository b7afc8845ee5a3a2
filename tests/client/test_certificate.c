/* Certificates made by `tally pki`, judged by OpenSSL's own verification. */
#include "client/cli/certificate.h"
#include "client/cli/new_files.h"

#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static X509 *parse(const struct certificate_pair *pair)
{
    char *text = certificate_pem(pair);
    BIO *bio = BIO_new_mem_buf(text, -1);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    cr_assert_not_null(certificate);
    BIO_free(bio);
    free(text);
    return certificate;
}

/* X509_V_OK or the reason why `leaf` is not good for `purpose` under `ca`. */
static int verify(X509 *ca, X509 *leaf, int purpose)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(context, store, leaf, NULL);
    X509_STORE_CTX_set_flags(context, X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(context, purpose);
    (void)X509_verify_cert(context); /* the error says the same and more */
    int error = X509_STORE_CTX_get_error(context);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    return error;
}

struct pair_set {
    struct certificate_pair *ca, *node, *client, *stranger_ca;
    X509 *ca_x509, *node_x509, *client_x509, *stranger_x509;
};

static struct pair_set make(void)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "::1", "ledger.bank"};
    struct certificate_error error;
    struct pair_set set;
    set.ca = certificate_create_ca("Test CA", 3650, &error);
    cr_assert_not_null(set.ca, "%s", error.text);
    set.stranger_ca = certificate_create_ca("Test CA", 3650, &error);
    set.node = certificate_issue(set.ca,
                                 &(struct certificate_options){.common_name = "node 1",
                                                               .uri = "spiffe://tallystick/node/1",
                                                               .hosts = hosts,
                                                               .host_count = 4,
                                                               .server = true,
                                                               .days = 365},
                                 &error);
    cr_assert_not_null(set.node, "%s", error.text);
    set.client = certificate_issue(
        set.ca,
        &(struct certificate_options){
            .common_name = "channel main", .uri = "spiffe://tallystick/channel/main", .days = 365},
        &error);
    cr_assert_not_null(set.client, "%s", error.text);
    set.ca_x509 = parse(set.ca);
    set.node_x509 = parse(set.node);
    set.client_x509 = parse(set.client);
    set.stranger_x509 = parse(set.stranger_ca);
    return set;
}

static void drop(struct pair_set *set)
{
    X509_free(set->ca_x509);
    X509_free(set->node_x509);
    X509_free(set->client_x509);
    X509_free(set->stranger_x509);
    certificate_destroy(set->ca);
    certificate_destroy(set->node);
    certificate_destroy(set->client);
    certificate_destroy(set->stranger_ca);
}

Test(certificate, each_is_good_for_its_purpose_and_no_other)
{
    struct pair_set set = make();
    cr_assert_eq(verify(set.ca_x509, set.node_x509, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    cr_assert_eq(verify(set.ca_x509, set.node_x509, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    cr_assert_eq(verify(set.ca_x509, set.client_x509, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    cr_assert_neq(verify(set.ca_x509, set.client_x509, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    cr_assert_neq(verify(set.stranger_x509, set.node_x509, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    cr_assert_eq(X509_check_ca(set.ca_x509), 1);
    cr_assert_eq(X509_check_ca(set.node_x509), 0);
    cr_assert_eq(X509_check_ca(set.client_x509), 0);
    drop(&set);
}

Test(certificate, a_node_is_valid_for_its_names_only)
{
    struct pair_set set = make();
    cr_assert_eq(X509_check_host(set.node_x509, "localhost", 0, 0, NULL), 1);
    cr_assert_eq(X509_check_host(set.node_x509, "ledger.bank", 0, 0, NULL), 1);
    cr_assert_eq(X509_check_ip_asc(set.node_x509, "127.0.0.1", 0), 1);
    cr_assert_eq(X509_check_ip_asc(set.node_x509, "::1", 0), 1);
    cr_assert_neq(X509_check_host(set.node_x509, "other.bank", 0, 0, NULL), 1);
    cr_assert_neq(X509_check_ip_asc(set.node_x509, "127.0.0.2", 0), 1);
    drop(&set);
}

/* Authorization needs exactly one URI. */
Test(certificate, each_carries_exactly_one_uri)
{
    struct pair_set set = make();
    const struct {
        X509 *certificate;
        const char *uri;
    } rows[] = {{set.node_x509, "spiffe://tallystick/node/1"},
                {set.client_x509, "spiffe://tallystick/channel/main"}};
    for (size_t i = 0; i < 2; i++) {
        GENERAL_NAMES *names =
            X509_get_ext_d2i(rows[i].certificate, NID_subject_alt_name, NULL, NULL);
        int uris = 0;
        for (int n = 0; n < sk_GENERAL_NAME_num(names); n++) {
            const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, n);
            if (name->type != GEN_URI)
                continue;
            uris++;
            const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;
            cr_assert_eq((size_t)ASN1_STRING_length(uri), strlen(rows[i].uri));
            cr_assert_eq(memcmp(ASN1_STRING_get0_data(uri), rows[i].uri, strlen(rows[i].uri)), 0);
        }
        cr_assert_eq(uris, 1);
        GENERAL_NAMES_free(names);
    }
    drop(&set);
}

Test(certificate, no_certificate_outlives_its_ca)
{
    struct certificate_error error;
    struct certificate_pair *ca = certificate_create_ca("short", 10, &error);
    struct certificate_pair *leaf = certificate_issue(
        ca, &(struct certificate_options){.common_name = "x", .uri = "spiffe://x", .days = 400},
        &error);
    X509 *ca_x509 = parse(ca);
    X509 *leaf_x509 = parse(leaf);
    cr_assert_eq(ASN1_TIME_compare(X509_get0_notAfter(leaf_x509), X509_get0_notAfter(ca_x509)), 0);
    X509_free(ca_x509);
    X509_free(leaf_x509);
    certificate_destroy(ca);
    certificate_destroy(leaf);
}

Test(certificate, the_key_is_pkcs8_and_belongs_to_the_certificate)
{
    struct pair_set set = make();
    char *text = certificate_key_pem(set.client);
    cr_assert(strstr(text, "-----BEGIN PRIVATE KEY-----") == text, "Java reads PKCS#8 only");
    BIO *bio = BIO_new_mem_buf(text, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    cr_assert_eq(X509_check_private_key(set.client_x509, key), 1);
    EVP_PKEY_free(key);
    BIO_free(bio);
    free(text);
    drop(&set);
}

/* ---- files: all or none, and never over another ---- */

static char *make_directory(void)
{
    static char path[] = "/tmp/tally-test-XXXXXX";
    cr_assert_not_null(mkdtemp(path));
    return path;
}

static void remove_file(const char *directory, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cr_assert_eq(unlink(path), 0, "%s", path);
}

Test(new_files, modes_are_as_asked_and_loading_checks_the_pair)
{
    char *directory = make_directory();
    struct pair_set set = make();
    struct new_files *files = calloc(1, sizeof *files);
    cr_assert(new_files_add(files, directory, "ca.pem", 0644, certificate_pem(set.ca)));
    cr_assert(new_files_add(files, directory, "ca.key", 0600, certificate_key_pem(set.ca)));
    cr_assert(new_files_add(files, directory, "x.key", 0600, certificate_key_pem(set.node)));
    cr_assert(new_files_write(files, directory), "%s", files->error);
    struct stat about;
    cr_assert_eq(stat(files->files[1].path, &about), 0);
    cr_assert_eq(about.st_mode & 0777, 0600);
    cr_assert_eq(stat(files->files[0].path, &about), 0);
    cr_assert_eq(about.st_mode & 0777, 0644);

    struct certificate_error error;
    struct certificate_pair *loaded =
        certificate_load(files->files[0].path, files->files[1].path, &error);
    cr_assert_not_null(loaded, "%s", error.text);
    certificate_destroy(loaded);
    cr_assert_null(certificate_load(files->files[0].path, files->files[2].path, &error));
    cr_assert(strstr(error.text, "is not the key of") != NULL, "%s", error.text);
    cr_assert_null(certificate_load("/nowhere/ca.pem", files->files[1].path, &error));
    cr_assert(strstr(error.text, "/nowhere/ca.pem") != NULL, "%s", error.text);
    new_files_deinit(files);
    free(files);
    drop(&set);
    remove_file(directory, "ca.pem");
    remove_file(directory, "ca.key");
    remove_file(directory, "x.key");
    cr_assert_eq(rmdir(directory), 0);
}

/* The second of three names exists: it is named, kept as it was, and the others are not made. */
Test(new_files, nothing_is_overwritten_and_nothing_half_made)
{
    char *directory = make_directory();
    struct new_files *files = calloc(1, sizeof *files);
    char path[256];
    char text[16] = "";
    snprintf(path, sizeof path, "%s/two", directory);
    FILE *file = fopen(path, "w");
    fputs("precious", file);
    fclose(file);
    cr_assert(new_files_add(files, directory, "one", 0644, strdup("1")));
    cr_assert(new_files_add(files, directory, "two", 0644, strdup("2")));
    cr_assert(new_files_add(files, directory, "three", 0644, strdup("3")));
    cr_assert_not(new_files_write(files, directory));
    cr_assert(files->exists);
    cr_assert(strstr(files->error, "two exists and is not overwritten") != NULL, "%s",
              files->error);
    file = fopen(path, "r");
    cr_assert_not_null(fgets(text, sizeof text, file));
    cr_assert_str_eq(text, "precious");
    fclose(file);
    new_files_deinit(files);
    free(files);
    remove_file(directory, "two");
    cr_assert_eq(rmdir(directory), 0, "one or three was left behind");
}

/* Writing the last of three fails (its directory does not exist): the first two are gone again. */
Test(new_files, a_failure_removes_what_was_made)
{
    char *directory = make_directory();
    struct new_files *files = calloc(1, sizeof *files);
    cr_assert(new_files_add(files, directory, "one", 0644, strdup("1")));
    cr_assert(new_files_add(files, directory, "two", 0644, strdup("2")));
    cr_assert(new_files_add(files, directory, "none/three", 0644, strdup("3")));
    cr_assert_not(new_files_write(files, directory));
    cr_assert(strstr(files->error, "none/three") != NULL, "%s", files->error);
    new_files_deinit(files);
    free(files);
    cr_assert_eq(rmdir(directory), 0, "something was left behind");
}
