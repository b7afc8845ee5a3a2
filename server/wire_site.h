/* Messages of site operations: reading the request by a table, writing the report. */
#ifndef TALLY_SERVER_WIRE_SITE_H
#define TALLY_SERVER_WIRE_SITE_H

#include "replication/node/site_operation.h"
#include "server/wire.h"

struct wire_site_request {
    uint8_t operation, dry_run, force, power_off;
    uint8_t site_size, reason_size, settings_size;
    bool has_number;
    uint64_t number; /* of the newest durability entry that the operator looked at */
    char site[MEMBER_SITE_SIZE_MAX + 1];
    char reason[SITE_WHY_SIZE];
    char settings[SITE_SETTINGS_SIZE];
};

/* Texts are terminated and hold no zero byte; whether the site exists is the leader's to say. */
enum status wire_decode_site_request(const uint8_t *message, size_t size,
                                     struct wire_site_request *out, struct wire_error *out_error);
/* The report as the bytes of OperateSiteResponse. */
void wire_write_site_report(struct wire_writer *writer, const struct site_report *report);

#endif
