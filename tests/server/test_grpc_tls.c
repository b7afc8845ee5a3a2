/* Who is let in: certificates of every wrong kind, on both sides, and what changes at a reload. */
#include "grpc_loopback.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct loopback bed;

static void setup(void)
{
    loopback_init(&bed, NULL, NULL);
}

static void setup_with_list(void)
{
    loopback_init(&bed, NULL, "crl");
}

static void teardown(void)
{
    loopback_deinit(&bed);
}

TestSuite(grpc_tls, .init = setup, .fini = teardown, .timeout = 60);
TestSuite(grpc_tls_crl, .init = setup_with_list, .fini = teardown, .timeout = 60);

static void try_echo(struct http2_client *client, struct tracked_call *tracked)
{
    memset(tracked, 0, sizeof *tracked);
    tracked_run(&bed, client, tracked, "/test/Echo", "x", 1);
    tracked_free(tracked);
}

/* The call never leaves, its error says what the server's alert said, and the server's event why.
 */
static void expect_refused(const char *certificate, const char *client_words,
                           const char *server_words)
{
    struct http2_client *client = loopback_client(&bed, certificate);
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.fate, HTTP2_NOT_SENT);
    cr_assert_eq(tracked.call.grpc_status, GRPC_UNAVAILABLE);
    cr_assert_not_null(strstr(tracked.call.grpc_message, client_words), "client: %s",
                       tracked.call.grpc_message);
    loopback_run_ms(&bed, 20);
    cr_assert_not_null(strstr(bed.events, "handshake_failed"), "events: %s", bed.events);
    cr_assert_not_null(strstr(bed.events, server_words), "events: %s", bed.events);
    loopback_stop_client(&bed, client);
    cr_assert_eq(bed.message_count, 0);
}

Test(grpc_tls, an_expired_certificate_is_refused_with_the_reason)
{
    pki_issue(bed.pki, &(struct pki_certificate){.file = "expired",
                                                 .alternative_names = "URI:spiffe://test/expired",
                                                 .valid_from_s = -7200,
                                                 .valid_to_s = -60});
    expect_refused("expired", "expired", "certificate has expired (subject /CN=expired)");
}

Test(grpc_tls, a_certificate_not_valid_yet_is_refused)
{
    pki_issue(bed.pki, &(struct pki_certificate){.file = "early",
                                                 .alternative_names = "URI:spiffe://test/early",
                                                 .valid_from_s = 3600,
                                                 .valid_to_s = 7200});
    expect_refused("early", "refused by the peer", "not yet valid");
}

Test(grpc_tls, a_certificate_of_another_authority_is_refused)
{
    struct pki *rogue = pki_create(bed.directory, "rogue_ca");
    pki_issue(rogue, &(struct pki_certificate){.file = "rogue",
                                               .alternative_names = "URI:spiffe://test/client"});
    pki_destroy(rogue);
    expect_refused("rogue", "refused by the peer", "issuer certificate");
}

/* A certificate for servers only cannot be used to call. */
Test(grpc_tls, a_server_certificate_is_no_client_certificate)
{
    pki_issue(bed.pki, &(struct pki_certificate){.file = "server_only",
                                                 .alternative_names = "URI:spiffe://test/x",
                                                 .server_only = true});
    expect_refused("server_only", "refused by the peer", "purpose");
}

/* No identity, or two: the connection stands and each call is told why. */
Test(grpc_tls, a_certificate_without_exactly_one_uri_is_unauthenticated_per_call)
{
    static const char *const names[] = {"DNS:localhost", "URI:spiffe://a/1,URI:spiffe://a/2", NULL};
    for (int i = 0; i < 3; i++) {
        char file[20];
        (void)snprintf(file, sizeof file, "odd%d", i);
        pki_issue(bed.pki, &(struct pki_certificate){.file = file, .alternative_names = names[i]});
        struct http2_client *client = loopback_client(&bed, file);
        struct tracked_call tracked;
        try_echo(client, &tracked);
        cr_assert_eq(tracked.call.fate, HTTP2_ANSWERED);
        cr_assert_eq(tracked.call.grpc_status, GRPC_UNAUTHENTICATED);
        cr_assert_not_null(strstr(tracked.call.grpc_message, "exactly one"), "%s",
                           tracked.call.grpc_message);
        cr_assert_str_eq(http2_call_trailer(&tracked.call, "tally-outcome"), "NOT_ACCEPTED");
        loopback_stop_client(&bed, client);
    }
    cr_assert_eq(bed.message_count, 0);
}

/* The client's side: name, address, authority and URI of the server are all checked. */
Test(grpc_tls, the_client_refuses_a_server_that_is_not_the_one_meant)
{
    struct pki *other = pki_create(bed.directory, "other_ca");
    pki_destroy(other);
    static const struct {
        const char *ca, *name, *uri, *words;
    } rows[] = {
        {"ca", "bank.example", NULL, "hostname mismatch"},
        {"ca", "127.0.0.2", NULL, "IP address mismatch"},
        {"other_ca", "localhost", NULL, "issuer certificate"},
        {"ca", "localhost", "spiffe://test/other", "spiffe://test/server"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http2_client *client =
            loopback_client_with(&bed, "client", rows[i].ca, rows[i].name, rows[i].uri);
        struct tracked_call tracked;
        try_echo(client, &tracked);
        cr_assert_eq(tracked.call.fate, HTTP2_NOT_SENT);
        cr_assert_not_null(strstr(tracked.call.grpc_message, rows[i].words), "row %zu: %s", i,
                           tracked.call.grpc_message);
        loopback_stop_client(&bed, client);
    }
    cr_assert_eq(bed.message_count, 0);
}

Test(grpc_tls, an_address_in_the_certificate_is_as_good_as_a_name)
{
    struct http2_client *client = loopback_client_with(&bed, "client", "ca", NULL, NULL);
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.grpc_status, 0, "%s", tracked.call.grpc_message);
    loopback_stop_client(&bed, client);
}

Test(grpc_tls, nobody_listening_is_not_sent)
{
    loopback_drain(&bed, 0);
    loopback_wait(&bed, &bed.drained);
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.fate, HTTP2_NOT_SENT);
    cr_assert_not_null(strstr(tracked.call.grpc_message, "connection refused"), "%s",
                       tracked.call.grpc_message);
    loopback_stop_client(&bed, client);
}

/* A key that does not fit, then the right files again: the old certificate serves until then. */
Test(grpc_tls, a_reload_that_fails_keeps_what_was_there)
{
    char from[160], to[160];
    (void)snprintf(from, sizeof from, "%s/client.key", bed.directory);
    (void)snprintf(to, sizeof to, "%s/server.key", bed.directory);
    cr_assert_eq(rename(from, to), 0);
    pki_issue(bed.pki, &(struct pki_certificate){.file = "client",
                                                 .alternative_names = "URI:spiffe://test/client"});
    struct grpc_error error;
    cr_assert_eq(grpc_server_reload(bed.server, &error), STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "server.key"), "%s", error.text);
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.grpc_status, 0, "%s", tracked.call.grpc_message);
    loopback_stop_client(&bed, client);
}

Test(grpc_tls, a_reload_serves_the_new_certificate)
{
    pki_issue(bed.pki, &(struct pki_certificate){.file = "server",
                                                 .alternative_names = "DNS:new.example,"
                                                                      "URI:spiffe://test/server"});
    struct grpc_error error;
    cr_assert_eq(grpc_server_reload(bed.server, &error), STATUS_OK, "%s", error.text);
    struct http2_client *client = loopback_client_with(&bed, "client", "ca", "new.example", NULL);
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.grpc_status, 0, "%s", tracked.call.grpc_message);
    loopback_stop_client(&bed, client);
}

/* An empty list lets all in; a new list ends the revoked client's connection and keeps it out. */
Test(grpc_tls_crl, a_revoked_certificate_is_cut_off_at_reload_and_kept_out)
{
    struct http2_client *client = loopback_client(&bed, "client");
    struct tracked_call tracked;
    try_echo(client, &tracked);
    cr_assert_eq(tracked.call.grpc_status, 0, "%s", tracked.call.grpc_message);
    pki_revoke(bed.pki, "crl", "client");
    struct grpc_error error;
    cr_assert_eq(grpc_server_reload(bed.server, &error), STATUS_OK, "%s", error.text);
    cr_assert_not_null(strstr(bed.events, "spiffe://test/client|certificate of"), "%s", bed.events);
    cr_assert_not_null(strstr(bed.events, "revoked"), "%s", bed.events);
    loopback_run_ms(&bed, 50);
    cr_assert(!http2_client_is_connected(client));
    loopback_stop_client(&bed, client);
    bed.message_count = 0;
    expect_refused("client", "revoked", "certificate revoked");
}
