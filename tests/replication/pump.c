/* See pump.h. The copy of a directory at a quiet moment stands for a crash: in manual mode every
 * moment between two steps is quiet. */
#include "tests/replication/pump.h"

#include "replication/node/node_internal.h"
#include "storage/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull

/* ---- files ---- */

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    require(in >= 0 && out >= 0, "copy %s to %s: %s", from, to, strerror(errno));
    static char buffer[1 << 16];
    ssize_t got;
    while ((got = read(in, buffer, sizeof buffer)) > 0)
        require((write(out, buffer, (size_t)got)) == (got), "unexpected");
    require((got) == (0), "unexpected");
    close(in);
    close(out);
}

void pump_copy_tree(const char *from, const char *to)
{
    require((mkdir(to, 0700)) == (0), "%s: %s", to, strerror(errno));
    DIR *stream = opendir(from);
    require((stream) != NULL, "%s", from);
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char a[2 * PUMP_PATH_MAX], b[2 * PUMP_PATH_MAX];
        snprintf(a, sizeof a, "%s/%s", from, entry->d_name);
        snprintf(b, sizeof b, "%s/%s", to, entry->d_name);
        struct stat stat_buffer;
        require((stat(a, &stat_buffer)) == (0), "unexpected");
        if (S_ISDIR(stat_buffer.st_mode))
            pump_copy_tree(a, b);
        else
            copy_file(a, b);
    }
    closedir(stream);
}

void pump_remove_tree(const char *path)
{
    DIR *stream = opendir(path);
    if (stream == NULL) {
        (void)unlink(path);
        return;
    }
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char inner[2 * PUMP_PATH_MAX];
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) != 0)
            pump_remove_tree(inner);
    }
    closedir(stream);
    (void)rmdir(path);
}

/* ---- the world ---- */

static uint64_t world_monotonic_ns(void *context)
{
    const struct pump *pump = context;
    if (pump->manual)
        return pump->monotonic_ns;
    return environment_real()->monotonic_ns(environment_real()->context) + pump->shift_ns;
}

static uint64_t world_wall_ns(void *context)
{
    const struct pump *pump = context;
    uint64_t real = environment_real()->wall_ns(environment_real()->context);
    return (uint64_t)((int64_t)real + pump->wall_shift_ns);
}

static void world_random(void *context, void *out, size_t size)
{
    (void)context;
    environment_real()->random(environment_real()->context, out, size);
}

static enum status world_open_directory(void *context, const char *path, struct files *out_files)
{
    struct pump *pump = context;
    return faulty_disk_open(&pump->disk, path, out_files);
}

static void world_close_directory(void *context, struct files *files)
{
    (void)context;
    faulty_disk_close(files);
}

static enum status world_open_store(void *context, const struct store_options *options,
                                    struct checkpoint **out_store, struct store_error *out_error)
{
    (void)context;
    return store_open(options, out_store, out_error);
}

static void world_store_failure(void *context, struct checkpoint *store,
                                struct store_error *out_error)
{
    (void)context;
    store_failure(store, out_error);
}

static void world_wake(void *context)
{
    struct pump *pump = context;
    pthread_mutex_lock(&pump->mutex);
    pump->woken = true;
    pthread_cond_signal(&pump->changed);
    pthread_mutex_unlock(&pump->mutex);
}

static void world_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct pump *pump = context;
    if (getenv("PUMP_TRACE") != NULL)
        fprintf(stderr, "event %s %s %llu %llu\n", name, text, (unsigned long long)a,
                (unsigned long long)b);
    pthread_mutex_lock(&pump->mutex);
    uint32_t i = 0;
    while (i < pump->event_count && strcmp(pump->events[i].name, name) != 0)
        i++;
    if (i < PUMP_EVENTS_MAX) {
        if (i == pump->event_count) {
            pump->event_count++;
            snprintf(pump->events[i].name, sizeof pump->events[i].name, "%s", name);
        }
        pump->events[i].count++;
        pump->events[i].a = a;
        pump->events[i].b = b;
    }
    pthread_mutex_unlock(&pump->mutex);
}

uint64_t pump_event_count(struct pump *pump, const char *name)
{
    uint64_t count = 0;
    pthread_mutex_lock(&pump->mutex);
    for (uint32_t i = 0; i < pump->event_count; i++)
        if (strcmp(pump->events[i].name, name) == 0)
            count = pump->events[i].count;
    pthread_mutex_unlock(&pump->mutex);
    return count;
}

/* ---- making ---- */

static void set_up_world(struct pump *pump)
{
    faulty_disk_init(&pump->disk);
    pthread_mutex_init(&pump->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pump->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pump->environment = (struct environment){
        .context = pump,
        .monotonic_ns = world_monotonic_ns,
        .wall_ns = world_wall_ns,
        .random = world_random,
        .open_directory = world_open_directory,
        .close_directory = world_close_directory,
        .make_directory = environment_real()->make_directory,
        .find_directory = environment_real()->find_directory,
        .remove_directory = environment_real()->remove_directory,
        .rename_directory = environment_real()->rename_directory,
        .sync_parent = environment_real()->sync_parent,
        .open_store = world_open_store,
        .store_failure = world_store_failure,
        .manual_jobs = pump->manual,
    };
    pump->options.environment = &pump->environment;
    pump->options.wake_context = pump;
    pump->options.wake_loop = world_wake;
    pump->options.event_context = pump;
    pump->options.event = world_event;
    pump->options.directory = pump->directory;
}

static struct principal_event principal(uint8_t role, const char *name, const char *uri)
{
    struct principal_event event = {
        .role = role,
        .name_size = (uint8_t)strlen(name),
        .uri_size = (uint8_t)strlen(uri),
    };
    memcpy(event.name, name, strlen(name));
    memcpy(event.uri, uri, strlen(uri));
    return event;
}

struct node_init_options pump_init_options(const char *directory)
{
    static struct principal_event principals[PRINCIPAL_COUNT];
    principals[PRINCIPAL_SITE_OPERATOR] =
        principal(ROLE_SITE_OPERATOR, "operator", "spiffe://bank/operator");
    principals[PRINCIPAL_BANK] = principal(ROLE_BUSINESS_OPERATOR, "bank", "spiffe://bank/bank");
    principals[PRINCIPAL_APP] = principal(ROLE_CHANNEL, "app", "spiffe://bank/app");
    return (struct node_init_options){
        .directory = directory,
        .journal_segment_size = PUMP_SEGMENT_BYTES,
        .reserve_bytes = 1u << 20,
        .node_id = 1,
        .principals = principals,
        .principal_count = PRINCIPAL_COUNT,
    };
}

static void make_root(struct pump *pump, bool manual)
{
    memset(pump, 0, sizeof *pump);
    pump->manual = manual;
    pump->monotonic_ns = 1000000 * NS_PER_MS;
    const char *base = getenv("TMPDIR");
    snprintf(pump->root, sizeof pump->root, "%s/tally-node-XXXXXX", base != NULL ? base : "/tmp");
    require((mkdtemp(pump->root)) != NULL, "unexpected");
    snprintf(pump->directory, sizeof pump->directory, "%.480s/data", pump->root);
    pump->options = (struct node_options){
        .journal_segment_size = PUMP_SEGMENT_BYTES,
        .epoch_transfer_count_max = 2 * REQUEST_EVENTS_MAX,
        .account_count_max = 4096,
        .bloom_bytes = 1u << 20,
        .store_map_size_bytes = 1ull << 30,
        .checkpoint_interval_ms = 3600 * 1000,
        .disk_watermark_bytes = 1u << 20,
        .in_flight_entries_max = 4,
        .waiting_requests_max = 1024,
        .waiting_bytes_max = 16u << 20,
    };
    set_up_world(pump);
}

void pump_init(struct pump *pump, bool manual)
{
    make_root(pump, manual);
    struct node_init_options init = pump_init_options(pump->directory);
    enum status status = node_init(&init, &pump->error);
    require((status) == (STATUS_OK), "node_init: %s", pump->error.text);
}

void pump_init_joiner(struct pump *pump, const struct node_init_options *options,
                      const uint8_t cluster_id[16])
{
    make_root(pump, true);
    struct node_init_options init = *options;
    init.directory = pump->directory;
    init.join = true;
    memcpy(init.cluster_id, cluster_id, sizeof init.cluster_id);
    enum status status = node_init(&init, &pump->error);
    require((status) == (STATUS_OK), "node_init: %s", pump->error.text);
}

void pump_kill(struct pump *pump)
{
    faulty_disk_set(&pump->disk, &pump->disk.write_status, STATUS_IO);
    faulty_disk_set(&pump->disk, &pump->disk.sync_status, STATUS_IO);
    faulty_disk_set(&pump->disk, &pump->disk.allocate_status, STATUS_IO);
    faulty_disk_set(&pump->disk, &pump->disk.create_status, STATUS_IO);
    node_fail(pump->node, STATUS_IO, "killed by the test");
    pump_close(pump);
    faulty_disk_set(&pump->disk, &pump->disk.write_status, STATUS_OK);
    faulty_disk_set(&pump->disk, &pump->disk.sync_status, STATUS_OK);
    faulty_disk_set(&pump->disk, &pump->disk.allocate_status, STATUS_OK);
    faulty_disk_set(&pump->disk, &pump->disk.create_status, STATUS_OK);
}

void pump_init_copy(struct pump *pump, const struct pump *from, const char *copy_name,
                    bool without_store)
{
    memset(pump, 0, sizeof *pump);
    pump->manual = from->manual;
    pump->monotonic_ns = from->monotonic_ns;
    pump->options = from->options;
    snprintf(pump->directory, sizeof pump->directory, "%.400s/%s", from->root, copy_name);
    pump_copy_tree(from->directory, pump->directory);
    if (without_store) {
        char store[PUMP_PATH_MAX + 16];
        snprintf(store, sizeof store, "%s/store-1", pump->directory);
        pump_remove_tree(store);
    }
    set_up_world(pump);
}

void pump_deinit(struct pump *pump)
{
    if (pump->node != NULL)
        pump_close(pump);
    pump_remove_tree(pump->root[0] != 0 ? pump->root : pump->directory);
    pthread_mutex_destroy(&pump->mutex);
    pthread_cond_destroy(&pump->changed);
    pthread_mutex_destroy(&pump->disk.mutex);
}

/* ---- turning ---- */

static void step_jobs(struct pump *pump)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        if ((job == NODE_JOB_WRITER && pump->hold_writer) ||
            (job == NODE_JOB_FLUSHER && pump->hold_flusher))
            continue;
        uint64_t wait_ns;
        (void)node_job_step(pump->node, (enum node_job)job, &wait_ns);
    }
}

static void sleep_until_woken(struct pump *pump)
{
    uint64_t wait_ms = node_wait_ms(pump->node);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + wait_ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / 1000000000ull);
    until.tv_nsec = (long)(ns % 1000000000ull);
    pthread_mutex_lock(&pump->mutex);
    while (!pump->woken && wait_ms > 0 &&
           pthread_cond_timedwait(&pump->changed, &pump->mutex, &until) != ETIMEDOUT)
        continue;
    pump->woken = false;
    pthread_mutex_unlock(&pump->mutex);
}

void pump_turn(struct pump *pump)
{
    if (pump->manual)
        step_jobs(pump);
    else
        sleep_until_woken(pump);
    node_process(pump->node);
}

/* In manual mode a bound on turns takes the place of a bound on time. */
#define MANUAL_TURNS_MAX 20000

bool pump_until(struct pump *pump, bool (*done)(void *context), void *context)
{
    uint64_t end = environment_real()->monotonic_ns(NULL) + PUMP_WAIT_MS * NS_PER_MS;
    for (int turn = 0; !pump->manual || turn < MANUAL_TURNS_MAX; turn++) {
        if (done(context))
            return true;
        if (environment_real()->monotonic_ns(NULL) > end)
            return false;
        pump_turn(pump);
    }
    return done(context);
}

struct phase_wanted {
    struct pump *pump;
    enum node_phase phase;
};

static bool phase_is(void *context)
{
    const struct phase_wanted *wanted = context;
    return pump_status(wanted->pump).phase == wanted->phase;
}

bool pump_until_phase(struct pump *pump, enum node_phase phase)
{
    struct phase_wanted wanted = {pump, phase};
    return pump_until(pump, phase_is, &wanted);
}

static bool spare_is_there(void *context)
{
    struct pump *pump = context;
    struct journal_position position;
    journal_position(pump->node->journal, &position);
    pump->monotonic_ns += pump->manual ? NS_PER_MS : 0;
    return position.bytes > position.segment_count * PUMP_SEGMENT_BYTES;
}

void pump_make_spare(struct pump *pump)
{
    require(pump_until(pump, spare_is_there, pump), "no spare segment");
}

enum status pump_open(struct pump *pump)
{
    require((pump->node) == NULL, "unexpected");
    return node_open(&pump->options, &pump->node, &pump->error);
}

void pump_serve(struct pump *pump)
{
    enum status status = pump_open(pump);
    require((status) == (STATUS_OK), "node_open: %s", pump->error.text);
    status = node_start(pump->node, &pump->error);
    require((status) == (STATUS_OK), "node_start: %s", pump->error.text);
    require(pump_until_phase(pump, NODE_SERVING), "phase %d: %s", pump_status(pump).phase,
            pump_status(pump).error.text);
}

void pump_stop(struct pump *pump)
{
    node_drain(pump->node);
    require(pump_until_phase(pump, NODE_STOPPED), "phase %d: %s", pump_status(pump).phase,
            pump_status(pump).error.text);
    pump_close(pump);
}

void pump_close(struct pump *pump)
{
    require(node_close(pump->node), "a thread hangs");
    pump->node = NULL;
}

struct node_status pump_status(struct pump *pump)
{
    struct node_status status;
    node_status(pump->node, &status);
    return status;
}
