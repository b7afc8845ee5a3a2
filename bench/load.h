/*
 * The load: transfers sent through libtally over mutual TLS, as a channel service would, and what
 * came of them. One thread and one connection per worker; each keeps `in_flight` requests going.
 *
 * Closed loop (rate 0): a request leaves when another has ended, and its latency counts from there.
 * Open loop (rate > 0): requests are due at fixed moments whether or not earlier ones have ended,
 * and latency counts from the moment a request was *due*, so that a stalled server is not hidden by
 * clients that politely wait for it.
 */
#ifndef TALLY_BENCH_LOAD_H
#define TALLY_BENCH_LOAD_H

#include "bench/histogram.h"
#include "client/tally.h"

#include <signal.h>

#define LOAD_CONNECTIONS_MAX 256

struct load_options {
    struct tally_options client; /* who sends transfers */
    uint32_t connections;        /* 1 .. LOAD_CONNECTIONS_MAX */
    uint32_t in_flight;          /* requests per connection, 1 .. TALLY_IN_FLIGHT_MAX */
    uint32_t batch;              /* transfers per request, 1 .. TALLY_EVENTS_MAX */
    uint32_t ledger;
    uint32_t accounts;    /* numbered from 1; at least 2 */
    uint32_t hot_percent; /* share of transfers whose debit account is number 1 */
    uint64_t rate;        /* transfers per second over all connections; 0 = closed loop */
    uint64_t request_max; /* requests in all; 0 = until duration_ns */
    uint64_t warmup_ns;   /* not counted */
    uint64_t duration_ns;
    uint64_t seed;       /* accounts and amounts; ids are random in every run */
    int acknowledged_fd; /* ids of posted transfers are appended there, 16 bytes each; 0 = nowhere
                          */
    const volatile sig_atomic_t *interrupted; /* not 0: no more is sent; NULL = never */
};

struct load_result {
    uint64_t elapsed_ns;               /* of the counted part */
    uint64_t requests;                 /* executed, counted part */
    uint64_t transfers_posted;         /* result OK */
    uint64_t transfers_refused;        /* any other result */
    uint64_t requests_refused;         /* as a whole, by the server */
    uint64_t requests_unknown;         /* outcome not known by the deadline */
    uint64_t requests_not_sent;        /* never left, or other local failures */
    uint64_t warmup_requests;          /* executed before counting began */
    struct histogram latency_us;       /* of executed requests */
    char error[TALLY_ERROR_SIZE + 32]; /* the first failure's words; empty when none */
    char refusal[TALLY_ERROR_SIZE];    /* the first refused transfer's result */
};

/* Creates the ledger and accounts 1 .. accounts with the certificate of a business operator; those
 * that exist already are fine. TALLY_OK, or how the failing call ended (*out_error filled). */
enum tally_status load_prepare(const struct tally_options *business, uint32_t ledger,
                               uint32_t accounts, struct tally_error *out_error);

/* Runs the load to its end. TALLY_OK whenever it ran, failures of single requests included: those
 * are in *out. Anything else: a worker could not start (*out_error filled). */
enum tally_status load_run(const struct load_options *options, struct load_result *out,
                           struct tally_error *out_error);

#endif
