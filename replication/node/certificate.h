/*
 * The newest certificate that this node holds: made here while it leads, received from the leader
 * otherwise; in memory, and in file `certificate` of the data directory.
 *
 * All on the loop thread, except certificates_job_step().
 */
#ifndef TALLY_REPLICATION_CERTIFICATE_H
#define TALLY_REPLICATION_CERTIFICATE_H

#include "replication/consensus/consensus.h"
#include "replication/directory.h"
#include "replication/environment.h"
#include "replication/node/certificate_record.h"
#include "replication/notify.h"
#include "replication/transport.h"

#include <stdatomic.h>

#define CERTIFICATE_FILE "certificate"
/* The leader makes one as often as this, ... */
#define CERTIFICATE_MS 200
/* ... and the file is replaced at most as often as this. */
#define CERTIFICATE_FILE_MS 1000

/* Who signs; brought by the daemon (net/signature.h). Loop thread. */
struct certificate_signer {
    void *context;
    /* STATUS_OK with at most CERTIFICATE_SIGNATURE_SIZE_MAX bytes in out_signature. */
    enum status (*sign)(void *context, const void *bytes, size_t size,
                        uint8_t out_signature[CERTIFICATE_SIGNATURE_SIZE_MAX], size_t *out_size);
    /* The certificates that it is checked with, at most CERTIFICATE_CHAIN_SIZE_MAX bytes of DER;
     * borrowed until the next call. */
    size_t (*chain)(void *context, const uint8_t **out_bytes);
};

struct certificates {
    const struct environment *environment;
    const struct notify *notify;
    const struct files *files;               /* of the data directory */
    const struct certificate_signer *signer; /* NULL: not signed */
    struct transport *transport;             /* NULL: nobody to send to */
    const struct identity *identity;
    void *wake_context;
    void (*wake_job)(void *context);
    /* ---- of a generation ---- */
    struct consensus *consensus;
    struct journal *journal;
    /* ---- making one ---- */
    enum certificate_making {
        CERTIFICATE_RESTS,
        CERTIFICATE_ASKS,  /* a majority, whether we still lead */
        CERTIFICATE_WAITS, /* until entry `index` is synced here */
    } making;
    struct consensus_confirmation confirmation;
    uint64_t asked_wall_ns, asked_term;
    struct certificate_record draft;
    uint64_t next_ns; /* none is begun before */
    uint64_t sequence, sequence_term;
    uint64_t told_number; /* durability entry of the last one: another number is told at once */
    /* ---- what is held ---- */
    uint8_t bytes[CERTIFICATE_SIZE_MAX] __attribute__((aligned(8)));
    size_t size; /* 0: none */
    struct certificate_record record;
    uint64_t made_total, received_total, refused_total;
    bool sign_failed_told;
    /* ---- its file ---- */
    bool unwritten; /* what is held is newer than what was given to the job */
    uint64_t written_ns;
    bool write_failed_told;
    /* Loop thread the job while it is FILE_WANTED. */
    _Atomic int job; /* enum certificate_file */
    enum status job_status;
    size_t job_size;
    uint8_t job_bytes[CERTIFICATE_SIZE_MAX];
};

/* Fields above the first line are set. Takes what the file holds; damage is told as an event and
 * else means that none is held. */
void certificates_load(struct certificates *certificates);
void certificates_attach(struct certificates *certificates, struct consensus *consensus,
                         struct journal *journal);
/* A turn: makes, sends, gives to the job. Anything but a status of the journal's is borne. */
void certificates_process(struct certificates *certificates, uint64_t stamp);
/* When it has something to do by itself; monotonic, UINT64_MAX = never. */
uint64_t certificates_next_ns(const struct certificates *certificates);
/* A message MESSAGE_CERTIFICATE of the authenticated member `from`. */
void certificates_receive(struct certificates *certificates, uint64_t from, const void *bytes,
                          size_t size);
/* The end: what is not in the file yet is given to the job. */
void certificates_stop(struct certificates *certificates);
/* The job's thread; true while more is to be done at once. */
void certificates_job_step(struct certificates *certificates);

#endif
