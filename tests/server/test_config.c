/* The configuration: what a good file gives, and the exact words for each way to get it wrong. */
#include "server/config.h"
#include "tests/net/pki.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];
static char file[128];

static void setup(void)
{
    strcpy(directory, "/tmp/tally-config-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/tallyd.yaml", directory);
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    cr_assert_eq(system(command), 0);
}

TestSuite(config, .init = setup, .fini = teardown);

static void write_file(const char *path, const void *bytes, size_t size, mode_t mode)
{
    FILE *out = fopen(path, "w");
    cr_assert_not_null(out);
    cr_assert_eq(fwrite(bytes, 1, size, out), size);
    cr_assert_eq(fclose(out), 0);
    cr_assert_eq(chmod(path, mode), 0);
}

static enum status load_bytes(const void *bytes, size_t size, struct config *config,
                              struct config_error *error)
{
    write_file(file, bytes, size, 0600);
    return config_load(file, config, error);
}

static enum status load(const char *text, struct config *config, struct config_error *error)
{
    return load_bytes(text, strlen(text), config, error);
}

#define BASE                                                                                       \
    "node:\n  directory: data\n"                                                                   \
    "tls:\n  certificate: /pki/node.pem\n  key: /pki/node.key\n  ca: /pki/ca.pem\n"

/* The least file: everything else has its documented default. */
Test(config, least_file_gives_the_defaults)
{
    struct config config;
    struct config_error error;
    cr_assert_eq(load(BASE, &config, &error), STATUS_OK, "%s", error.text);
    char expected[128];
    snprintf(expected, sizeof expected, "%s/data", directory);
    cr_assert_str_eq(config.directory, expected);
    cr_assert_str_eq(config.certificate, "/pki/node.pem");
    cr_assert_str_eq(config.crl, "");
    cr_assert_str_eq(config.user, "");
    cr_assert_not(config.allow_root);
    cr_assert_str_eq(config.grpc.host, "127.0.0.1");
    cr_assert_eq(config.grpc.port, 7400);
    cr_assert_eq(config.ops.port, 7401);
    cr_assert_str_eq(config.peer.host, "", "no peers unless asked for");
    cr_assert_str_eq(config.peer_uri_prefix, "spiffe://tallystick/node/");
    cr_assert_eq(config.election_ms, 250);
    cr_assert_eq(config.heartbeat_ms, 50);
    cr_assert_eq(config.grpc_limits.connections_max, 1024);
    cr_assert_eq(config.grpc_limits.message_size_max, 1100000);
    cr_assert_eq(config.entries_in_flight, 4);
    cr_assert_eq(config.segment_bytes, 64u << 20);
    cr_assert_eq(config.watermark_bytes, 256u << 20);
    cr_assert_eq(config.log_level, LOG_LEVEL_INFO);
}

/* Every kind of value, sizes with units, an address of version 6, a comment, a free port. */
Test(config, every_kind_of_value_is_read)
{
    struct config config;
    struct config_error error;
    const char *text = "# a comment\n"
                       "node: {directory: \"/var/lib/tally\", user: tally, allow_root: true}\n"
                       "listen:\n  grpc: \"[::1]:0\"\n  ops: 0.0.0.0:9000\n"
                       "peer: {listen: \"[::]:7402\", uri_prefix: \"spiffe://bank/n/\"}\n"
                       "cluster: {election_ms: 1000, heartbeat_ms: 200}\n"
                       "tls: {certificate: a.pem, key: b.key, ca: c.pem, crl: d.crl}\n"
                       "limits:\n  connections: 7\n  request_bytes: 2GiB\n  drain_ms: 0\n"
                       "checkpoint: {transfers: 65536, bloom_bytes: 1 MiB}\n"
                       "journal: {segment_bytes: 2097152}\n"
                       "disk: {watermark_bytes: 0}\n"
                       "log: {level: debug}\n";
    cr_assert_eq(load(text, &config, &error), STATUS_OK, "%s", error.text);
    cr_assert_str_eq(config.directory, "/var/lib/tally");
    cr_assert_str_eq(config.user, "tally");
    cr_assert(config.allow_root);
    cr_assert_str_eq(config.grpc.host, "::1");
    cr_assert_eq(config.grpc.port, 0);
    cr_assert_str_eq(config.ops.host, "0.0.0.0");
    cr_assert_str_eq(config.peer.host, "::");
    cr_assert_eq(config.peer.port, 7402);
    cr_assert_str_eq(config.peer_uri_prefix, "spiffe://bank/n/");
    cr_assert_eq(config.election_ms, 1000);
    cr_assert_eq(config.heartbeat_ms, 200);
    cr_assert_eq(config.grpc_limits.connections_max, 7);
    cr_assert_eq(config.request_bytes_max, 2ull << 30);
    cr_assert_eq(config.drain_ms, 0);
    cr_assert_eq(config.checkpoint_transfers, 65536);
    cr_assert_eq(config.bloom_bytes, 1u << 20);
    cr_assert_eq(config.segment_bytes, 2u << 20);
    cr_assert_eq(config.watermark_bytes, 0);
    cr_assert_eq(config.log_level, LOG_LEVEL_DEBUG);
    char expected[128];
    snprintf(expected, sizeof expected, "%s/d.crl", directory);
    cr_assert_str_eq(config.crl, expected);
}

struct bad {
    const char *text;
    const char *words[4]; /* all of them must be in the message */
};

static const struct bad bads[] = {
    {"", {"empty", "node.directory"}},
    {"# only a comment\n", {"empty"}},
    {"- a\n- b\n", {":1:", "a list", "mapping"}},
    {"just words\n", {":1:", "a single value"}},
    {BASE "nodes:\n  x: 1\n",
     {":7:", "unknown section \"nodes\"", "node, listen, peer, cluster, tls"}},
    {BASE "log:\n  levle: info\n", {":8:", "unknown key \"levle\" in log", "level"}},
    {BASE "log: \"\"\n", {":7:", "log is a single value"}},
    {BASE "log: info\n", {":7:", "log is a single value", "level"}},
    {BASE "log:\n  level: [info]\n", {":8:", "log.level is a list"}},
    {BASE "log:\n  level: loud\n", {":8:", "loud", "debug, info, warning and error"}},
    {BASE "log:\n  level: info\n  level: debug\n", {":9:", "log.level is given twice"}},
    {BASE "log: {level: info}\nlog: {level: info}\n", {":8:", "section log is given twice"}},
    {BASE "limits:\n  connections: 0\n", {":8:", "\"0\"", "from 1 to 65536"}},
    {BASE "limits:\n  connections: 65537\n", {":8:", "\"65537\"", "from 1 to 65536"}},
    {BASE "limits:\n  connections: -1\n", {":8:", "\"-1\""}},
    {BASE "limits:\n  connections: 1e3\n", {":8:", "\"1e3\""}},
    {BASE "limits:\n  connections: 0x10\n", {":8:", "\"0x10\""}},
    {BASE "limits:\n  connections: 12 KiB\n", {":8:", "\"12 KiB\""}},
    {BASE "limits:\n  connections: \"12\"\n", {":8:", "in quotes", "whole number"}},
    {BASE "limits:\n  connections: ~\n", {":8:", "\"~\""}},
    {BASE "limits:\n  connections:\n", {":8:", "\"\""}},
    {BASE "limits:\n  connections: 99999999999999999999\n", {":8:", "allowed"}},
    {BASE "limits:\n  request_bytes: 99999999999 TiB\n", {":8:", "bytes"}},
    {BASE "limits:\n  request_bytes: 3 MB\n", {":8:", "KiB, MiB, GiB or TiB"}},
    {BASE "limits:\n  request_bytes: 2MiB\n",
     {"limits.request_bytes", "limits.bytes_per_principal", "raise"}},
    {BASE "listen:\n  grpc: localhost:7400\n", {":8:", "localhost:7400", "numeric"}},
    {BASE "listen:\n  grpc: 127.0.0.1\n", {":8:", "127.0.0.1"}},
    {BASE "listen:\n  grpc: 127.0.0.1:65536\n", {":8:", "65536"}},
    {BASE "listen:\n  grpc: \"::1:7400\"\n", {":8:", "[::1]:7400"}},
    {BASE "listen:\n  ops: 127.0.0.1:7400\n", {"same address"}},
    {BASE "peer:\n  listen: 127.0.0.1:7401\n", {"peer.listen", "same address", "listen.ops"}},
    {BASE "peer:\n  listen: 127.0.0.1:7400\n", {"peer.listen", "same address", "listen.grpc"}},
    {BASE "peer:\n  listen: a1.bank:7402\n", {":8:", "a1.bank:7402", "numeric"}},
    {BASE "peer:\n  uri_prefix: \"\"\n", {"peer.uri_prefix is empty", "spiffe://"}},
    {BASE "cluster:\n  election_ms: 99\n", {":8:", "\"99\"", "from 100 to 60000"}},
    {BASE "cluster:\n  heartbeat_ms: 9\n", {":8:", "\"9\"", "from 10 to 10000"}},
    {BASE "cluster:\n  heartbeat_ms: 63\n", {"cluster.election_ms (250)", "heartbeat_ms (63)"}},
    {BASE "journal:\n  segment_bytes: 1MiB\n", {":8:", "2097152"}},
    {BASE "journal:\n  segment_bytes: 2GiB\n", {":8:", "1073741824"}},
    {BASE "journal:\n  segment_bytes: 4195000\n", {"segment_bytes", "4096", "4194304"}},
    {"node:\n  directory: d\n  allow_root: yes\n", {":3:", "\"yes\"", "true and false"}},
    {"node:\n  directory: d\n  allow_root: \"true\"\n", {":3:", "in quotes", "true or false"}},
    {"node:\n  directory: \"\"\n", {":2:", "node.directory is empty"}},
    {"node:\n  directory: d\n", {"tls.certificate is missing"}},
    {"tls:\n  certificate: a\n  key: b\n  ca: c\n", {"node.directory is missing"}},
    {"node:\n  ? [a, b]\n  : c\n", {":2:", "a key of node is a list"}},
    {"node:\n directory: a\n  user: b\n", {"not YAML", ":"}},
    {"node: {directory: a\n", {"not YAML"}},
    {BASE "---\nnode: {}\n", {"second document"}},
    {BASE "log: {level: &a info}\n...\n%\n", {"not YAML"}},
};

/* Each bad file is refused with the file's name, the line where there is one, the key and what is
 * allowed; the configuration that was there is untouched. */
Test(config, every_bad_file_is_refused_in_words)
{
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct config config;
        struct config_error error = {.text = ""};
        memset(&config, 0x5a, sizeof config);
        cr_assert_eq(load(bads[i].text, &config, &error), STATUS_INVALID, "accepted: %s",
                     bads[i].text);
        cr_expect(strncmp(error.text, file, strlen(file)) == 0, "no file name: %s", error.text);
        for (int word = 0; word < 4 && bads[i].words[word]; word++)
            cr_expect(strstr(error.text, bads[i].words[word]), "\"%s\" is not in: %s",
                      bads[i].words[word], error.text);
        for (size_t byte = 0; byte < sizeof config; byte++)
            cr_assert_eq(((unsigned char *)&config)[byte], 0x5a);
    }
}

/* Bytes that are no text: a zero byte, invalid UTF-8, a file that is far too large. */
Test(config, bytes_that_are_no_text_are_refused)
{
    struct config config;
    struct config_error error;
    static const char zero[] = "node:\n  directory: a\0b\n";
    cr_assert_eq(load_bytes(zero, sizeof zero - 1, &config, &error), STATUS_INVALID);
    static const char escaped[] = "node:\n  directory: \"a\\0b\"\n";
    cr_assert_eq(load_bytes(escaped, sizeof escaped - 1, &config, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "zero byte"), "%s", error.text);
    static const char broken[] = "node:\n  directory: \"\xff\xfe\"\n";
    cr_assert_eq(load_bytes(broken, sizeof broken - 1, &config, &error), STATUS_INVALID);
    char *large = malloc(CONFIG_FILE_SIZE_MAX + 1);
    memset(large, '#', CONFIG_FILE_SIZE_MAX + 1);
    cr_assert_eq(load_bytes(large, CONFIG_FILE_SIZE_MAX + 1, &config, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "larger than"), "%s", error.text);
    free(large);
}

static char *sample_text(void)
{
    FILE *in = fopen(TALLY_SOURCE_ROOT "/ops/tallyd.yaml.sample", "r");
    cr_assert_not_null(in);
    char *text = calloc(1, CONFIG_FILE_SIZE_MAX);
    cr_assert_gt(fread(text, 1, CONFIG_FILE_SIZE_MAX - 1, in), 1000);
    cr_assert_eq(fclose(in), 0);
    return text;
}

/* The sample is valid as it is; and every default that it shows behind a "#" is the real one. */
Test(config, sample_shows_every_key_and_its_default)
{
    struct config as_it_is, uncommented;
    struct config_error error;
    char *text = sample_text();
    cr_assert_eq(load(text, &as_it_is, &error), STATUS_OK, "%s", error.text);
    uint32_t shown = 0;
    for (char *at = text; (at = strstr(at, "\n  # ")) != NULL; at += 5) {
        size_t word = strspn(at + 5, "abcdefghijklmnopqrstuvwxyz_");
        if (at[5 + word] != ':')
            continue;
        memcpy(at + 1, "    ", 4);
        memmove(at + 3, at + 5, strlen(at + 5) + 1); /* two spaces, as the others have */
        shown++;
    }
    cr_expect_gt(shown, 15);
    cr_assert_eq(load(text, &uncommented, &error), STATUS_OK, "%s", error.text);
    char *crl = uncommented.crl; /* has no default: shown as an example */
    cr_expect_str_eq(crl, "/var/lib/tallystick/tls/ca.crl");
    memset(crl, 0, sizeof uncommented.crl);
    memset(as_it_is.crl, 0, sizeof as_it_is.crl);
    cr_expect_eq(memcmp(&as_it_is, &uncommented, sizeof as_it_is), 0);
    free(text);
}

/* A section without keys is as if it were not there. */
Test(config, empty_section_changes_nothing)
{
    struct config with, without;
    struct config_error error;
    cr_assert_eq(load(BASE "limits:\n  # connections: 1\nlog:\n", &with, &error), STATUS_OK, "%s",
                 error.text);
    cr_assert_eq(load(BASE, &without, &error), STATUS_OK);
    cr_expect_eq(memcmp(&with, &without, sizeof with), 0);
}

/* A path that would not fit is refused, not cut. */
Test(config, long_path_is_refused)
{
    struct config config;
    struct config_error error;
    char text[2 * CONFIG_PATH_SIZE];
    int size = snprintf(text, sizeof text, "node:\n  directory: /");
    memset(text + size, 'a', CONFIG_PATH_SIZE);
    strcpy(text + size + CONFIG_PATH_SIZE, "\n");
    cr_assert_eq(load(text, &config, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "longer than the 1023 bytes"), "%s", error.text);
}

Test(config, missing_file_says_how_to_give_one)
{
    struct config config;
    struct config_error error;
    cr_assert_eq(config_load("/nonexistent/tallyd.yaml", &config, &error), STATUS_NOT_FOUND);
    cr_expect(strstr(error.text, "/nonexistent/tallyd.yaml"), "%s", error.text);
    cr_expect(strstr(error.text, "--config"), "%s", error.text);
    cr_assert_eq(config_load("/tmp", &config, &error), STATUS_IO);
}

/* What the machine says: a missing certificate, a directory in its place, a key for everybody. */
Test(config, files_are_checked_on_the_machine)
{
    struct config config;
    struct config_error error;
    const char *text = "node: {directory: data}\n"
                       "tls: {certificate: c.pem, key: k.pem, ca: a.pem}\n";
    cr_assert_eq(load(text, &config, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(config_check_files(&config, &error), STATUS_NOT_FOUND);
    cr_expect(strstr(error.text, "tls.certificate"), "%s", error.text);
    write_file(config.certificate, "x", 1, 0644);
    write_file(config.key, "x", 1, 0644);
    cr_assert_eq(config_check_files(&config, &error), STATUS_PERMISSION);
    cr_expect(strstr(error.text, "tls.key"), "%s", error.text);
    cr_expect(strstr(error.text, "chmod"), "%s", error.text);
    cr_assert_eq(chmod(config.key, 0640), 0);
    cr_assert_eq(mkdir(config.ca, 0700), 0);
    cr_assert_eq(config_check_files(&config, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "not a file"), "%s", error.text);
    cr_assert_eq(rmdir(config.ca), 0);
    write_file(config.ca, "x", 1, 0644);
    cr_assert_eq(config_check_files(&config, &error), STATUS_OK, "%s", error.text);
}

/* Peers know a node by its certificate: another node's, or one that names nobody, stops the start
 * with both names; a node without peers may have any. */
Test(config, certificate_names_the_node_for_its_peers)
{
    struct config config;
    struct config_error error = {.text = ""};
    struct pki *pki = pki_create(directory, "ca");
    pki_issue(pki, &(struct pki_certificate){
                       .file = "node", .alternative_names = "URI:spiffe://bank/n/7,DNS:localhost"});
    pki_issue(pki,
              &(struct pki_certificate){.file = "nobody", .alternative_names = "DNS:localhost"});
    pki_destroy(pki);
    const char *text = "node: {directory: data}\n"
                       "peer: {listen: \"127.0.0.1:0\", uri_prefix: \"spiffe://bank/n/\"}\n"
                       "tls: {certificate: node.pem, key: node.key, ca: ca.pem}\n";
    cr_assert_eq(load(text, &config, &error), STATUS_OK, "%s", error.text);
    cr_expect_eq(config_check_identity(&config, 7, &error), STATUS_OK, "%s", error.text);
    cr_expect_eq(config_check_identity(&config, 77, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "is for spiffe://bank/n/7,"), "%s", error.text);
    cr_expect(strstr(error.text, "expect spiffe://bank/n/77 "), "%s", error.text);
    char *end = strstr(config.certificate, "node.pem");
    cr_assert_not_null(end);
    strcpy(end, "nobody.pem");
    cr_expect_eq(config_check_identity(&config, 7, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "nobody.pem"), "%s", error.text);
    strcpy(end, "node.key");
    cr_expect_eq(config_check_identity(&config, 7, &error), STATUS_INVALID);
    cr_expect(strstr(error.text, "no certificate"), "%s", error.text);
    config.peer.host[0] = '\0';
    cr_expect_eq(config_check_identity(&config, 7, &error), STATUS_OK, "nobody asks");
}

Test(config, addresses_are_parsed_exactly)
{
    struct config_address address;
    cr_expect(config_parse_address("10.0.0.1:1", &address));
    cr_expect_eq(address.port, 1);
    cr_expect(config_parse_address("[fe80::1]:65535", &address));
    cr_expect_str_eq(address.host, "fe80::1");
    static const char *const wrong[] = {
        "",           ":",          ":1",          "1.2.3.4:",      "1.2.3.4",
        "1.2.3:5",    "[::1]",      "[]:1",        "[::1:1",        "1.2.3.4:+1",
        "1.2.3.4: 1", "1.2.3.4:1 ", "[1.2.3.4]:1", "1.2.3.4:000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect_not(config_parse_address(wrong[i], &address), "%s", wrong[i]);
}
