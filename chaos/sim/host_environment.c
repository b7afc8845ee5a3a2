/*
 * What the node in a host has instead of an operating system: clocks of its own, random numbers of
 * the host's stream, the directories of its virtual disk, the store's twin, and a signer that
 * nobody has a reason to forge.
 *
 * A call of the node takes time: what its disk has cost so far in this turn is part of what both
 * clocks say, so a node that writes sees time pass although the world stands still meanwhile.
 */
#include "chaos/sim/host_environment.h"

#include "chaos/sim/twin.h"
#include "replication/node/certificate.h"

#include <string.h>

/* ---- the environment ---- */

/* What a clock that runs wrong has gone astray since it does, in ns: each ns its share, for a slow
 * clock never goes back. */
static int64_t astray(const struct host *host, uint64_t now_ns, int64_t drift_ppm)
{
    return (int64_t)(now_ns - host->drift_since_ns) * drift_ppm / 1000000;
}

/* A turn lives through what its disk takes. A job has a thread of its own, which the world makes
 * wait before the job's next step: were its clock ahead, the loop's would stand still until the
 * world has come so far, and a state would stay young that is not. */
static uint64_t lived_ns(const struct host *host)
{
    return host->world->now_ns + (host->in_job ? 0 : host->disk.cost_ns);
}

uint64_t host_monotonic_ns(const struct host *host)
{
    const uint64_t now = lived_ns(host);
    return host->monotonic_base_ns + now + (uint64_t)astray(host, now, host->monotonic_drift_ppm);
}

uint64_t host_wall_ns(const struct host *host)
{
    const uint64_t now = lived_ns(host);
    return (uint64_t)((int64_t)(WORLD_WALL_NS + host->world->slept_ns) + (int64_t)now +
                      astray(host, now, host->wall_drift_ppm) + host->wall_offset_ns);
}

void host_drift(struct host *host, int64_t wall_ppm, int64_t monotonic_ppm)
{
    const uint64_t now = host->world->now_ns;
    /* What it has gone astray it keeps: no clock jumps because its rate changes. */
    host->wall_offset_ns += astray(host, now, host->wall_drift_ppm);
    host->monotonic_base_ns += (uint64_t)astray(host, now, host->monotonic_drift_ppm);
    host->drift_since_ns = now;
    host->wall_drift_ppm = wall_ppm;
    host->monotonic_drift_ppm = monotonic_ppm;
}

/* Who died in the middle of a long turn had lived ahead of the world. Its clock goes on from there,
 * and does not stand still until the world has come so far. */
void host_clock_goes_on(struct host *host)
{
    const uint64_t now = host_monotonic_ns(host);
    if (host->monotonic_seen_ns > now)
        host->monotonic_base_ns += host->monotonic_seen_ns - now;
}

/* It never goes back, not even by what a clock that runs too fast is set right. */
static uint64_t environment_monotonic(void *context)
{
    struct host *host = context;
    const uint64_t now = host_monotonic_ns(host);
    if (now > host->monotonic_seen_ns)
        host->monotonic_seen_ns = now;
    return host->monotonic_seen_ns;
}

static uint64_t environment_wall(void *context)
{
    return host_wall_ns(context);
}

static void environment_random(void *context, void *out, size_t size)
{
    struct host *host = context;
    uint8_t *bytes = out;
    while (size > 0) {
        const uint64_t word = draw_u64(&host->draw);
        const size_t part = size < sizeof word ? size : sizeof word;
        memcpy(bytes, &word, part);
        bytes += part;
        size -= part;
    }
}

static enum status environment_open_directory(void *context, const char *path, struct files *out)
{
    struct host *host = context;
    return disk_open_directory(&host->disk, path, out);
}

static void environment_close_directory(void *context, struct files *files)
{
    (void)context;
    disk_close_directory(files);
}

static enum status environment_make_directory(void *context, const char *path)
{
    struct host *host = context;
    return disk_make_directory(&host->disk, path);
}

static enum status environment_find_directory(void *context, const char *path)
{
    struct host *host = context;
    return disk_find_directory(&host->disk, path);
}

static enum status environment_remove_directory(void *context, const char *path)
{
    struct host *host = context;
    return disk_remove_directory(&host->disk, path);
}

static enum status environment_rename_directory(void *context, const char *from, const char *to)
{
    struct host *host = context;
    return disk_rename_directory(&host->disk, from, to);
}

static enum status environment_sync_parent(void *context, const char *path)
{
    struct host *host = context;
    return disk_sync_parent(&host->disk, path);
}

static enum status environment_open_store(void *context, const struct store_options *options,
                                          struct checkpoint **out_store,
                                          struct store_error *out_error)
{
    struct host *host = context;
    struct files files;
    enum status status = disk_open_directory(&host->disk, options->path, &files);
    if (status != STATUS_OK)
        return status;
    status = twin_open(&files, disk_close_directory, options, out_store, out_error);
    if (status != STATUS_OK) {
        disk_close_directory(&files);
        return status;
    }
    if (host->forget_requests)
        twin_forget_requests(*out_store);
    return STATUS_OK;
}

static void environment_store_failure(void *context, struct checkpoint *store,
                                      struct store_error *out_error)
{
    (void)context;
    twin_failure(store, out_error);
}

static void node_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct host *host = context;
    if (host->dying)
        return;
    world_note(host->world, name, host->number, a, b);
    if (strcmp(name, "fail_stop") == 0)
        world_tell(host->world, "host %u stops itself: %s", host->number, text);
}

static void node_wake(void *context)
{
    struct host *host = context;
    if (host->dying)
        return;
    if (host->turning)
        host->wake_in_turn = true;
    else
        host_wake(host);
}

/* ---- signing ---- */

/* Nobody forges here; a certificate just has to have a signature to count. */
static enum status signer_sign(void *context, const void *bytes, size_t size,
                               uint8_t out_signature[CERTIFICATE_SIGNATURE_SIZE_MAX],
                               size_t *out_size)
{
    (void)context, (void)bytes, (void)size;
    memset(out_signature, 1, 8);
    *out_size = 8;
    return STATUS_OK;
}

static size_t signer_chain(void *context, const uint8_t **out_bytes)
{
    static const uint8_t chain[8] = {1};
    (void)context;
    *out_bytes = chain;
    return sizeof chain;
}

static const struct certificate_signer signer = {.sign = signer_sign, .chain = signer_chain};

void host_environment_init(struct host *host)
{
    host->environment = (struct environment){
        .context = host,
        .monotonic_ns = environment_monotonic,
        .wall_ns = environment_wall,
        .random = environment_random,
        .open_directory = environment_open_directory,
        .close_directory = environment_close_directory,
        .make_directory = environment_make_directory,
        .find_directory = environment_find_directory,
        .remove_directory = environment_remove_directory,
        .rename_directory = environment_rename_directory,
        .sync_parent = environment_sync_parent,
        .open_store = environment_open_store,
        .store_failure = environment_store_failure,
        .manual_jobs = true,
        .small_segments = true,
    };
    host->options.environment = &host->environment;
    host->options.signer = &signer;
    host->options.wake_context = host;
    host->options.wake_loop = node_wake;
    host->options.event_context = host;
    host->options.event = node_event;
}
