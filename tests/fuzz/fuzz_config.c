/*
 * The configuration file out of any bytes, and its values.
 *
 *   - a file that is refused is refused in words that begin with its name; one that is accepted
 *     leaves none, and every number lies in the range that docs/operations-node.md gives;
 *   - it does not matter how often it is read;
 *   - addresses and sizes are compared with a second, slower way of reading them.
 *
 * The first byte chooses: 0 the file, 1 an address, 2 a number, 3 a size.
 */
#include "fuzz.h"
#include "server/config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

__extension__ typedef unsigned __int128 u128;

static enum status load(const uint8_t *bytes, size_t size, struct config *out,
                        struct config_error *error)
{
    static int file = -1;
    static char path[64];
    if (file < 0) {
        file = memfd_create("tallyd.yaml", MFD_CLOEXEC);
        need(file >= 0, "a file in memory");
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    need(ftruncate(file, 0) == 0 && pwrite(file, bytes, size, 0) == (ssize_t)size, "written");
    const enum status status = config_load(path, out, error);
    if (status == STATUS_OK)
        need(error->text[0] == '\0', "no words when all is well");
    else
        need(strncmp(error->text, path, strlen(path)) == 0 &&
                 strlen(error->text) > strlen(path) + 2,
             "a refusal names the file and says more");
    return status;
}

static bool within(uint64_t value, uint64_t low, uint64_t high)
{
    return value >= low && value <= high;
}

static void check_ranges(const struct config *c)
{
    const struct grpc_limits *l = &c->grpc_limits;
    need(c->directory[0] == '/' && c->certificate[0] == '/' && c->key[0] == '/' && c->ca[0] == '/',
         "paths are absolute");
    need(within(c->election_ms, 100, 60000) && within(c->heartbeat_ms, 10, 10000), "cluster");
    need(c->election_ms >= 4 * c->heartbeat_ms, "heartbeats between elections");
    need(within(c->log_tail_bytes, 64 << 10, 1 << 30), "log tail");
    need(within(l->connections_max, 1, 65536) && within(l->handshakes_max, 1, 65536) &&
             within(l->streams_max, 1, 65536) && within(l->message_size_max, 4096, 4 << 20) &&
             within(l->calls_per_principal_max, 1, 1 << 20) &&
             within(l->bytes_per_principal_max, 2 << 20, 16ull << 30),
         "limits of connections");
    need(within(l->handshake_timeout_ms, 100, 600000) && within(l->body_timeout_ms, 100, 600000) &&
             within(l->idle_timeout_ms, 1000, 86400000) &&
             within(l->ping_interval_ms, 1000, 3600000) &&
             within(l->connection_age_ms, 1000, 86400000),
         "times of connections");
    need(within(c->requests_per_principal, 1, 65536) && within(c->requests_max, 1, 65536) &&
             within(c->request_bytes_max, 2 << 20, 16ull << 30) &&
             c->request_bytes_max >= l->bytes_per_principal_max,
         "limits of requests");
    need(within(c->entries_in_flight, 1, 64) && within(c->read_wait_ms, 1, 600000) &&
             c->drain_ms <= 600000,
         "limits of the node");
    need(within(c->checkpoint_transfers, 16384, 16 << 20) &&
             within(c->checkpoint_interval_ms, 10, 86400000) &&
             within(c->bloom_bytes, 1 << 20, 256ull << 30) &&
             within(c->map_size_bytes, 64ull << 20, 64ull << 40),
         "checkpoint");
    need(within(c->segment_bytes, 2 << 20, 1 << 30) && c->segment_bytes % 4096 == 0 &&
             c->release_bytes <= 16ull << 40 && c->watermark_bytes <= 16ull << 40,
         "journal and disk");
    need((unsigned)c->log_level < LOG_LEVEL_COUNT, "a known level");
    need(c->peer_uri_prefix[0] != '\0', "peers are named by something");
}

static void check_file(const uint8_t *bytes, size_t size)
{
    static struct config config, again;
    static struct config_error error;
    memset(&config, 0x5a, sizeof config);
    memset(&again, 0xa5, sizeof again);
    if (load(bytes, size, &config, &error) != STATUS_OK)
        return;
    check_ranges(&config);
    need(load(bytes, size, &again, &error) == STATUS_OK, "accepted once, accepted twice");
    need(memcmp(&config, &again, sizeof config) == 0, "every field is set, the same each time");
}

static void check_address(const char *text)
{
    struct config_address address;
    char printed[96];
    unsigned char binary[16];
    if (!config_parse_address(text, &address))
        return;
    const bool six = text[0] == '[';
    need(inet_pton(six ? AF_INET6 : AF_INET, address.host, binary) == 1, "a numeric address");
    snprintf(printed, sizeof printed, six ? "[%s]:%u" : "%s:%u", address.host, address.port);
    /* A port may be written with zeros in front, of at most five digits. */
    const char *port = strrchr(text, ':') + 1;
    const size_t front = (size_t)(port - text);
    need(strncmp(printed, text, front) == 0, "host and brackets as written");
    need(strtoul(port, NULL, 10) == address.port && strlen(port) <= 5, "the port as written");
}

/* Digit by digit in 128 bits; the units by a table of powers. */
static bool read_slowly(const char *text, bool is_size, uint64_t *out)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    u128 value = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        value = value * 10 + (unsigned)(text[digits] - '0');
        if (value > UINT64_MAX)
            return false;
    }
    if (digits == 0)
        return false;
    text += digits;
    if (*text != '\0') {
        size_t unit = 0;
        while (is_size && *text == ' ')
            text++;
        while (unit < 4 && strcmp(units[unit], text) != 0)
            unit++;
        if (!is_size || unit == 4)
            return false;
        value <<= 10 * (unit + 1);
    }
    *out = (uint64_t)value;
    return value <= UINT64_MAX;
}

static void check_number(const char *text, bool is_size)
{
    uint64_t ours = 0, slow = 0;
    const bool valid = config_parse_number(text, is_size, &ours);
    need(valid == read_slowly(text, is_size, &slow), "a number to one is one to the other");
    need(!valid || ours == slow, "the same number");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > CONFIG_FILE_SIZE_MAX + 16)
        return 0;
    if (data[0] % 4 == 0) {
        check_file(data + 1, size - 1);
        return 0;
    }
    char *text = fuzz_text(data + 1, size - 1);
    if (data[0] % 4 == 1)
        check_address(text);
    else
        check_number(text, data[0] % 4 == 3);
    free(text);
    return 0;
}
