/*
 * tally-bench: sends transfers and says how many were posted per second and how long they took.
 *
 * What is measured is what a channel service in C would see: libtally, gRPC over mutual TLS, one
 * durable answer per request. Options, the run (load.c), and the report as text and JSON; nothing
 * else lives here.
 */
#include "bench/load.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

enum option_key {
    KEY_SERVERS = 256,
    KEY_CA,
    KEY_CERTIFICATE,
    KEY_KEY,
    KEY_CONNECTIONS,
    KEY_IN_FLIGHT,
    KEY_BATCH,
    KEY_LEDGER,
    KEY_ACCOUNTS,
    KEY_HOT,
    KEY_RATE,
    KEY_COUNT,
    KEY_DURATION,
    KEY_WARMUP,
    KEY_DEADLINE,
    KEY_SEED,
    KEY_JSON,
    KEY_ACKNOWLEDGED,
};

static const struct argp_option argp_options[] = {
    {0, 0, 0, 0, "Whom to ask, and as whom:", 1},
    {"servers", KEY_SERVERS, "HOST:PORT", 0, "Server", 1},
    {"ca", KEY_CA, "FILE", 0, "Authority of the server's certificate (PEM)", 1},
    {"certificate", KEY_CERTIFICATE, "FILE", 0,
     "Certificate: of a channel, or of a business operator for prepare (PEM)", 1},
    {"key", KEY_KEY, "FILE", 0, "Its private key (PEM)", 1},
    {0, 0, 0, 0, "What to send:", 2},
    {"ledger", KEY_LEDGER, "N", 0, "Ledger (default 1)", 2},
    {"accounts", KEY_ACCOUNTS, "N", 0, "Accounts, numbered from 1 (default 10000)", 2},
    {"batch", KEY_BATCH, "N", 0, "Transfers per request (default 8190)", 2},
    {"hot", KEY_HOT, "PERCENT", 0, "Share of transfers that debit account 1 (default 0)", 2},
    {"seed", KEY_SEED, "N", 0, "Choice of accounts and amounts (default 1)", 2},
    {0, 0, 0, 0, "How, and how long:", 3},
    {"connections", KEY_CONNECTIONS, "N", 0, "Connections, a thread each (default 2)", 3},
    {"in-flight", KEY_IN_FLIGHT, "N", 0, "Requests in flight on each (default 4)", 3},
    {"rate", KEY_RATE, "N", 0,
     "Transfers per second in all, due at fixed moments (default: closed loop, as fast as answers "
     "come)",
     3},
    {"duration", KEY_DURATION, "SECONDS", 0, "Counted time (default 10)", 3},
    {"warmup", KEY_WARMUP, "SECONDS", 0, "Time before counting begins (default 1)", 3},
    {"count", KEY_COUNT, "N", 0, "Instead of a time: this many transfers, all counted", 3},
    {"deadline", KEY_DEADLINE, "MS", 0, "Deadline of a request (default 10000)", 3},
    {0, 0, 0, 0, "Report:", 4},
    {"json", KEY_JSON, "FILE", 0, "Write the report as JSON, too", 4},
    {"acknowledged", KEY_ACKNOWLEDGED, "FILE", 0,
     "Append the ids of all posted transfers, 16 bytes each, for whoever looks whether they are "
     "still there",
     4},
    {0},
};

struct command {
    struct load_options load;
    uint64_t transfer_count;
    const char *json_file, *acknowledged_file;
    bool prepare;
};

/* A whole decimal number in [low, high]; otherwise ends with a usage error. */
static uint64_t number(struct argp_state *state, const char *name, const char *text, uint64_t low,
                       uint64_t high)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != 0 || value < low || value > high)
        argp_error(state, "--%s: \"%s\" is not a number from %llu to %llu", name, text,
                   (unsigned long long)low, (unsigned long long)high);
    return value;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
    struct command *command = state->input;
    struct load_options *load = &command->load;
    switch (key) {
    case KEY_SERVERS:
        load->client.servers = text;
        break;
    case KEY_CA:
        load->client.ca_file = text;
        break;
    case KEY_CERTIFICATE:
        load->client.certificate_file = text;
        break;
    case KEY_KEY:
        load->client.key_file = text;
        break;
    case KEY_CONNECTIONS:
        load->connections = (uint32_t)number(state, "connections", text, 1, LOAD_CONNECTIONS_MAX);
        break;
    case KEY_IN_FLIGHT:
        load->in_flight = (uint32_t)number(state, "in-flight", text, 1, TALLY_IN_FLIGHT_MAX);
        break;
    case KEY_BATCH:
        load->batch = (uint32_t)number(state, "batch", text, 1, TALLY_EVENTS_MAX);
        break;
    case KEY_LEDGER:
        load->ledger = (uint32_t)number(state, "ledger", text, 1, UINT32_MAX);
        break;
    case KEY_ACCOUNTS:
        load->accounts = (uint32_t)number(state, "accounts", text, 2, 16u << 20);
        break;
    case KEY_HOT:
        load->hot_percent = (uint32_t)number(state, "hot", text, 0, 100);
        break;
    case KEY_RATE:
        load->rate = number(state, "rate", text, 1, 1000000000);
        break;
    case KEY_COUNT:
        command->transfer_count = number(state, "count", text, 1, 1000000000000ull);
        break;
    case KEY_DURATION:
        load->duration_ns = SECOND_NS * number(state, "duration", text, 1, 86400);
        break;
    case KEY_WARMUP:
        load->warmup_ns = SECOND_NS * number(state, "warmup", text, 0, 3600);
        break;
    case KEY_DEADLINE:
        load->client.deadline_ms = (uint32_t)number(state, "deadline", text, 1, 86400000);
        break;
    case KEY_SEED:
        load->seed = number(state, "seed", text, 0, UINT64_MAX);
        break;
    case KEY_JSON:
        command->json_file = text;
        break;
    case KEY_ACKNOWLEDGED:
        command->acknowledged_file = text;
        break;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0 || (strcmp(text, "prepare") != 0 && strcmp(text, "run") != 0))
            argp_error(state, "\"%s\": the only words are prepare and run", text);
        command->prepare = strcmp(text, "prepare") == 0;
        break;
    case ARGP_KEY_END:
        if (state->arg_num == 0)
            argp_error(state, "prepare or run?");
        if (!load->client.servers || !load->client.ca_file || !load->client.certificate_file ||
            !load->client.key_file)
            argp_error(state, "--servers, --ca, --certificate and --key are needed");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp argp = {
    argp_options,
    parse,
    "prepare|run",
    "Measures a running Tallystick node with transfers that are posted for good: use a node of its "
    "own.\n\n"
    "  prepare   creates the ledger and the accounts (certificate of a business operator)\n"
    "  run       sends transfers and reports (certificate of a channel)\v"
    "SIGINT ends the sending; what is in flight is waited for and reported. "
    "Latency is from submitting a request (with --rate: from the moment it was due) to its durable "
    "answer, as seen through libtally over mutual TLS. Percentiles are rounded up by at most "
    "1/128.\n\n"
    "Exit status: 0 measured; 1 some requests or transfers failed; 2 nothing could be measured.",
    NULL,
    NULL,
    NULL};

/* ---- report ---- */

static const struct {
    const char *name;
    uint32_t per_mille;
} percentiles[] = {{"p50", 500}, {"p90", 900}, {"p99", 990}, {"p99.9", 999}};
#define PERCENTILE_COUNT (sizeof percentiles / sizeof percentiles[0])

static double per_second(uint64_t count, const struct load_result *result)
{
    return result->elapsed_ns ? (double)count * 1e9 / (double)result->elapsed_ns : 0;
}

static uint64_t failures(const struct load_result *result)
{
    return result->transfers_refused + result->requests_refused + result->requests_unknown +
           result->requests_not_sent;
}

static void print_text(const struct command *command, const struct load_result *result)
{
    const struct load_options *load = &command->load;
    const struct histogram *latency = &result->latency_us;
    printf("batch %u, %u connections x %u in flight, %s, %u accounts\n", load->batch,
           load->connections, load->in_flight, load->rate ? "open loop" : "closed loop",
           load->accounts);
    printf("%12.0f transfers/s posted (%llu in %.2f s)\n",
           per_second(result->transfers_posted, result),
           (unsigned long long)result->transfers_posted, (double)result->elapsed_ns / 1e9);
    printf("%12.0f requests/s\n", per_second(result->requests, result));
    printf("latency of a request, ms:");
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        printf("  %s %.3f", percentiles[i].name,
               (double)histogram_value_at(latency, percentiles[i].per_mille) / 1e3);
    printf("  max %.3f\n", (double)latency->max / 1e3);
    if (failures(result) > 0)
        printf("FAILED: %llu transfers refused, requests: %llu refused, %llu unknown, %llu not "
               "sent\n",
               (unsigned long long)result->transfers_refused,
               (unsigned long long)result->requests_refused,
               (unsigned long long)result->requests_unknown,
               (unsigned long long)result->requests_not_sent);
    if (result->error[0] != 0)
        printf("first failed request: %s\n", result->error);
    if (result->refusal[0] != 0)
        printf("first refused transfer: %s\n", result->refusal);
}

/* False, with the reason on stderr, when the file could not be written. */
static bool write_json(const struct command *command, const struct load_result *result)
{
    const struct load_options *load = &command->load;
    const struct histogram *latency = &result->latency_us;
    json_t *latencies = json_object();
    for (size_t i = 0; i < PERCENTILE_COUNT; i++)
        json_object_set_new(
            latencies, percentiles[i].name,
            json_integer((json_int_t)histogram_value_at(latency, percentiles[i].per_mille)));
    json_object_set_new(latencies, "max", json_integer((json_int_t)latency->max));
    json_t *report = json_pack(
        "{s:i, s:i, s:i, s:i, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "batch",
        (int)load->batch, "connections", (int)load->connections, "in_flight", (int)load->in_flight,
        "accounts", (int)load->accounts, "rate", (json_int_t)load->rate, "elapsed_s",
        (double)result->elapsed_ns / 1e9, "requests", (json_int_t)result->requests,
        "transfers_posted", (json_int_t)result->transfers_posted, "transfers_refused",
        (json_int_t)result->transfers_refused, "requests_refused",
        (json_int_t)result->requests_refused, "requests_unknown",
        (json_int_t)result->requests_unknown, "requests_not_sent",
        (json_int_t)result->requests_not_sent, "transfers_per_s",
        per_second(result->transfers_posted, result), "requests_per_s",
        per_second(result->requests, result), "latency_us", latencies);
    bool written = report && json_dump_file(report, command->json_file,
                                            JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    if (!written)
        fprintf(stderr, "tally-bench: cannot write %s: %s\n", command->json_file, strerror(errno));
    json_decref(report);
    return written;
}

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

int main(int argc, char **argv)
{
    struct command command = {.load = {.connections = 2,
                                       .in_flight = 4,
                                       .batch = TALLY_EVENTS_MAX,
                                       .ledger = 1,
                                       .accounts = 10000,
                                       .warmup_ns = SECOND_NS,
                                       .duration_ns = 10 * SECOND_NS,
                                       .seed = 1}};
    signal(SIGPIPE, SIG_IGN);
    argp_err_exit_status = 2;
    argp_parse(&argp, argc, argv, 0, NULL, &command);

    struct load_options *load = &command.load;
    static struct load_result result;
    struct tally_error error = {0};
    if (command.prepare) {
        if (load_prepare(&load->client, load->ledger, load->accounts, &error) == TALLY_OK)
            return 0;
        fprintf(stderr, "tally-bench: %s\n", error.text);
        return 2;
    }
    if (command.transfer_count > 0) {
        load->request_max = (command.transfer_count + load->batch - 1) / load->batch;
        load->warmup_ns = 0;
    }
    if (command.acknowledged_file != NULL) {
        load->acknowledged_fd =
            open(command.acknowledged_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (load->acknowledged_fd < 0) {
            fprintf(stderr, "tally-bench: cannot write %s: %s\n", command.acknowledged_file,
                    strerror(errno));
            return 2;
        }
    }
    load->interrupted = &interrupted;
    signal(SIGINT, interrupt);
    if (load_run(load, &result, &error) != TALLY_OK) {
        fprintf(stderr, "tally-bench: %s\n", error.text);
        return 2;
    }
    print_text(&command, &result);
    if (command.json_file && !write_json(&command, &result))
        return 2;
    if (result.requests == 0)
        return 2;
    return failures(&result) > 0 ? 1 : 0;
}
