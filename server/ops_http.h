/*
 * HTTP/1.1 for probes and scrapers, on a port of its own that belongs on loopback or a management
 * network: no TLS, no secrets, nothing that changes anything.
 *
 *   GET /livez            200 "ok"
 *   GET /readyz           200 "ok", or 503 and one reason per line; ?verbose lists every check
 *   GET /metrics          Prometheus text format 0.0.4
 *   GET /status           JSON
 *
 * HEAD as GET without the body; other methods 405, other paths 404.
 */
#ifndef TALLY_SERVER_OPS_HTTP_H
#define TALLY_SERVER_OPS_HTTP_H

#include "core/status.h"
#include "server/config.h"
#include "server/log.h"
#include "server/probe.h"

#include <uv.h>

struct ops_http;

struct ops_error {
    char text[256];
};

/* Binds and answers from the next turn of the loop on. `probe` and `log` are borrowed until stop.
 * STATUS_UNAVAILABLE (address in use), STATUS_PERMISSION, STATUS_NO_MEMORY, STATUS_INVALID with
 * *out_error. */
enum status ops_http_start(uv_loop_t *loop, const struct config_address *address,
                           const struct probe *probe, struct log *log, struct ops_http **out_http,
                           uint16_t *out_port, struct ops_error *out_error);
/* Closes every connection; memory goes once the loop closed the handles. */
void ops_http_stop(struct ops_http *http);

#endif
