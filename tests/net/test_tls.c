/* TLS contexts from files: what is wrong with a file is said with its name. */
#include "net/tls.h"
#include "pki.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char directory[64];
static struct pki *pki;
static char certificate[100], key[100], ca[100], crl[100], other_key[100], rubbish[100];

static void setup(void)
{
    strcpy(directory, "/tmp/tally-tls-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    pki = pki_create(directory, "ca");
    pki_issue(pki, &(struct pki_certificate){.file = "a", .alternative_names = "URI:x:a"});
    pki_issue(pki, &(struct pki_certificate){.file = "b", .alternative_names = "URI:x:b"});
    (void)snprintf(certificate, sizeof certificate, "%s/a.pem", directory);
    (void)snprintf(key, sizeof key, "%s/a.key", directory);
    (void)snprintf(other_key, sizeof other_key, "%s/b.key", directory);
    (void)snprintf(ca, sizeof ca, "%s/ca.pem", directory);
    (void)snprintf(crl, sizeof crl, "%s/crl.pem", directory);
    (void)snprintf(rubbish, sizeof rubbish, "%s/rubbish.pem", directory);
    FILE *file = fopen(rubbish, "w");
    cr_assert_not_null(file);
    fputs("-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----\n", file);
    fclose(file);
}

static void teardown(void)
{
    char command[100];
    pki_destroy(pki);
    (void)snprintf(command, sizeof command, "rm -r %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(tls, .init = setup, .fini = teardown, .timeout = 20);

static struct tls_options good_options(void)
{
    return (struct tls_options){
        .side = TLS_SERVER, .certificate_file = certificate, .key_file = key, .ca_file = ca};
}

static void expect(struct tls_options options, enum status status, const char *words)
{
    struct tls_context *context = NULL;
    struct net_error error = {.text = ""};
    cr_assert_eq(tls_context_create(&options, &context, &error), status, "%s", error.text);
    if (status == STATUS_OK)
        tls_context_destroy(context);
    else
        cr_assert_not_null(strstr(error.text, words), "%s", error.text);
}

Test(tls, good_files_make_a_context)
{
    expect(good_options(), STATUS_OK, "");
    struct tls_options client = good_options();
    client.side = TLS_CLIENT;
    expect(client, STATUS_OK, "");
}

Test(tls, each_missing_file_is_named)
{
    struct tls_options options = good_options();
    options.certificate_file = "/nowhere/c.pem";
    expect(options, STATUS_IO, "cannot read the certificate file /nowhere/c.pem: No such file");
    options = good_options();
    options.key_file = "/nowhere/k.pem";
    expect(options, STATUS_IO, "cannot read the key file /nowhere/k.pem");
    options = good_options();
    options.ca_file = NULL;
    expect(options, STATUS_INVALID, "no CA file");
    options = good_options();
    options.crl_file = "/nowhere/crl.pem";
    expect(options, STATUS_IO, "cannot read the CRL file /nowhere/crl.pem");
}

Test(tls, each_wrong_file_is_named)
{
    struct tls_options options = good_options();
    options.certificate_file = rubbish;
    expect(options, STATUS_INVALID, "rubbish.pem");
    options = good_options();
    options.key_file = other_key;
    expect(options, STATUS_INVALID, "b.key");
    options = good_options();
    options.ca_file = rubbish;
    expect(options, STATUS_INVALID, "rubbish.pem");
    options = good_options();
    options.crl_file = rubbish;
    expect(options, STATUS_INVALID, "rubbish.pem");
}

Test(tls, a_server_does_not_start_with_an_expired_certificate_and_a_client_does)
{
    pki_issue(pki, &(struct pki_certificate){.file = "old",
                                             .alternative_names = "URI:x:a",
                                             .valid_from_s = -7200,
                                             .valid_to_s = -60});
    char old[100], old_key[100];
    (void)snprintf(old, sizeof old, "%s/old.pem", directory);
    (void)snprintf(old_key, sizeof old_key, "%s/old.key", directory);
    struct tls_options options = good_options();
    options.certificate_file = old;
    options.key_file = old_key;
    expect(options, STATUS_INVALID, "has expired");
    options.side = TLS_CLIENT;
    expect(options, STATUS_OK, "");
}

/* The list's nextUpdate and the certificate's end are known, for the alarms. */
Test(tls, expiry_times_are_read_from_the_files)
{
    pki_revoke(pki, "crl", "b");
    struct tls_options options = good_options();
    options.crl_file = crl;
    struct tls_context *context;
    struct net_error error;
    cr_assert_eq(tls_context_create(&options, &context, &error), STATUS_OK, "%s", error.text);
    struct tls_expiry expiry = tls_context_expiry(context);
    int64_t now_s = (int64_t)time(NULL);
    cr_assert(expiry.certificate_s > now_s + 3500 && expiry.certificate_s <= now_s + 3601);
    cr_assert(expiry.crl_s > now_s + 3500 && expiry.crl_s <= now_s + 3601);
    tls_context_destroy(context);
}

/* A list with a broken second entry must not pass as a list of one. */
Test(tls, a_revocation_file_that_breaks_off_is_refused)
{
    pki_revoke(pki, "crl", "b");
    FILE *file = fopen(crl, "a");
    cr_assert_not_null(file);
    fputs("-----BEGIN X509 CRL-----\nMIIB\n", file);
    fclose(file);
    struct tls_options options = good_options();
    options.crl_file = crl;
    expect(options, STATUS_INVALID, "list 2");
}

Test(tls, a_reload_replaces_only_on_success)
{
    struct tls_options options = good_options();
    struct tls_context *context, *before;
    struct net_error error;
    cr_assert_eq(tls_context_create(&options, &context, &error), STATUS_OK);
    before = context;
    cr_assert_eq(rename(other_key, key), 0);
    cr_assert_eq(tls_context_reload(&context, &error), STATUS_INVALID);
    cr_assert_eq(context, before);
    pki_issue(pki, &(struct pki_certificate){.file = "a", .alternative_names = "URI:x:a"});
    cr_assert_eq(tls_context_reload(&context, &error), STATUS_OK, "%s", error.text);
    tls_context_destroy(context);
}
