/*
 * Warnings before our own certificate or the revocation list ends: 30, 7 and 1 days ahead, once
 * each, and again at every hour after the end. A list that has expired lets nobody new in, so the
 * warning is what keeps the service up.
 */
#include "server/grpc_internal.h"

#include <time.h>

#define CHECK_INTERVAL_MS 3600000
#define DAY_S             86400

/* The warning that is due with so many days left: 30, 7, 1, 0 (over), or 31 for none. */
static int threshold_of(int64_t left_s)
{
    if (left_s <= 0)
        return 0;
    if (left_s <= DAY_S)
        return 1;
    if (left_s <= 7 * DAY_S)
        return 7;
    return left_s <= 30 * DAY_S ? 30 : 31;
}

static void warn(struct grpc_server *server, const char *event, const char *what, int64_t end_s,
                 int *warned_days)
{
    if (end_s == 0)
        return;
    int64_t left_s = end_s - (int64_t)time(NULL);
    int due = threshold_of(left_s);
    bool is_new = due < 31 && (*warned_days == 0 || due < *warned_days || due == 0);
    *warned_days = due == 31 ? 31 : due;
    if (!is_new)
        return;
    if (due == 0)
        grpc_server_event(server, event, "", "%s has expired: renew it and reload", what);
    else
        grpc_server_event(server, event, "", "%s expires in %lld hours: renew it and reload", what,
                          (long long)(left_s / 3600));
}

void grpc_expiry_check(struct grpc_server *server)
{
    uint64_t now_ms = uv_now(server->uv);
    if (server->expiry_checked_ms != 0 && now_ms - server->expiry_checked_ms < CHECK_INTERVAL_MS)
        return;
    server->expiry_checked_ms = now_ms ? now_ms : 1;
    struct tls_expiry expiry = tls_context_expiry(server->tls);
    warn(server, "certificate_expires", "the server's certificate", expiry.certificate_s,
         &server->certificate_warned_days);
    warn(server, "crl_expires", "the revocation list", expiry.crl_s, &server->crl_warned_days);
}
