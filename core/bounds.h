/*
 * Every bound of the ledger, with its arithmetic. A number that two nodes must agree on is part of
 * the command version and changes only with it; the others may differ between nodes.
 */
#ifndef TALLY_CORE_BOUNDS_H
#define TALLY_CORE_BOUNDS_H

/* --- agreed by all nodes (command version 1) --- */

/* Events of one request. 8190 x 128 B + request header 80 B + entry header 32 B = 1 048 432 B,
 * which fits an entry of 1 MiB with room for the journal's record header. */
#define REQUEST_EVENTS_MAX 8190

/* One entry: one request of any size, or several requests up to ENTRY_GATHER_BYTES. */
#define ENTRY_SIZE_MAX     (1024 * 1024)
#define ENTRY_GATHER_BYTES (256 * 1024)
/* The smallest request is its header of 80 B: 256 KiB / 80 B = 3276. */
#define ENTRY_REQUESTS_MAX 3276

#define LEDGERS_MAX    1024
#define PRINCIPALS_MAX 4096 /* rows of the table: certificate names */
#define NAME_SIZE_MAX  64   /* bytes of UTF-8 */
#define URI_SIZE_MAX   255
#define EXPONENT_MAX   18

/* Request window: an issue time may be this much behind or ahead of ledger time. */
#define REQUEST_WINDOW_NS (24ull * 3600 * 1000000000ull)
#define REQUEST_AHEAD_NS  (60ull * 1000000000ull)
/* Requests remembered at once and the bytes of their stored answers; 24 h at 2 300 requests/s.
 * On disk about 200 B each. */
#define REQUESTS_MAX             (200ull * 1000 * 1000)
#define REQUEST_ANSWER_BYTES_MAX (64ull << 30)

/* Accounts: about 300 B of RAM each (hot line 128, record 64, copy of the balance for a freeze 84,
 * hash slots 16 to 32). The table is reserved as address space and touched as it fills. Agreed,
 * since a full table is a replicated result. */
#define ACCOUNTS_MAX (16u * 1024 * 1024)

/* --- local to a node --- */

/* Epoch: what RAM gathers between two checkpoints. 128 B each, twice (one frozen). */
#define EPOCH_TRANSFERS_DEFAULT    (512u * 1024)
#define EPOCH_REQUESTS_DEFAULT     (256u * 1024)
#define EPOCH_ANSWER_BYTES_DEFAULT (32u * 1024 * 1024)

#endif
