/*
 * The configuration file: a mapping of sections, each a mapping of scalars. libyaml gives the tree
 * with line numbers, the table below gives each key its type, range and default, and what the two
 * do not agree on is refused with file, line, key and what is allowed: a misspelt key that is
 * silently ignored is a limit that silently is not there.
 *
 * A schema library that fills a struct is not used: the struct no longer knows lines, so a value
 * out of range could not be told with its place.
 */
#include "server/config.h"

#include "core/bounds.h"
#include "core/invariant.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

enum key_kind { KEY_PATH, KEY_TEXT, KEY_BOOL, KEY_UINT32, KEY_UINT64, KEY_ADDRESS, KEY_LEVEL };

struct config_key {
    const char *section, *name;
    enum key_kind kind;
    size_t offset;
    bool required;
    uint64_t low, high; /* numbers; size of the field for KEY_PATH and KEY_TEXT is `high` */
    uint64_t initial;
    const char *initial_text;
};

#define AT(field) offsetof(struct config, field)
#define PATH(section, name, at, must)                                                              \
    {                                                                                              \
        section, name, KEY_PATH, at, must, 0, CONFIG_PATH_SIZE, 0, ""                              \
    }
#define NUMBER32(s, n, at, low, high, i)                                                           \
    {                                                                                              \
        s, n, KEY_UINT32, at, false, low, high, i, NULL                                            \
    }
#define NUMBER64(s, n, at, low, high, i)                                                           \
    {                                                                                              \
        s, n, KEY_UINT64, at, false, low, high, i, NULL                                            \
    }

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const struct config_key keys[] = {
    PATH("node", "directory", AT(directory), true),
    {"node", "user", KEY_TEXT, AT(user), false, 0, sizeof((struct config *)0)->user, 0, ""},
    {"node", "allow_root", KEY_BOOL, AT(allow_root), false, 0, 1, 0, NULL},

    {"listen", "grpc", KEY_ADDRESS, AT(grpc), false, 0, 0, 0, "127.0.0.1:7400"},
    {"listen", "ops", KEY_ADDRESS, AT(ops), false, 0, 0, 0, "127.0.0.1:7401"},

    {"peer", "listen", KEY_ADDRESS, AT(peer), false, 0, 0, 0, NULL},
    {"peer", "uri_prefix", KEY_TEXT, AT(peer_uri_prefix), false, 0,
     sizeof((struct config *)0)->peer_uri_prefix, 0, "spiffe://tallystick/node/"},

    NUMBER32("cluster", "election_ms", AT(election_ms), 100, 60000, 250),
    NUMBER32("cluster", "heartbeat_ms", AT(heartbeat_ms), 10, 10000, 50),
    NUMBER64("cluster", "log_tail_bytes", AT(log_tail_bytes), 64 * KIB, 1 * GIB, 64 * MIB),

    PATH("tls", "certificate", AT(certificate), true),
    PATH("tls", "key", AT(key), true),
    PATH("tls", "ca", AT(ca), true),
    PATH("tls", "crl", AT(crl), false),

    NUMBER32("limits", "connections", AT(grpc_limits.connections_max), 1, 65536, 1024),
    NUMBER32("limits", "connections_per_principal", AT(grpc_limits.connections_per_principal_max),
             1, 65536, 256),
    NUMBER32("limits", "handshakes", AT(grpc_limits.handshakes_max), 1, 65536, 128),
    NUMBER32("limits", "streams", AT(grpc_limits.streams_max), 1, 65536, 1024),
    NUMBER32("limits", "message_bytes", AT(grpc_limits.message_size_max), 4096, 4 * MIB, 1100000),
    NUMBER32("limits", "calls_per_principal", AT(grpc_limits.calls_per_principal_max), 1, 1048576,
             2048),
    NUMBER64("limits", "bytes_per_principal", AT(grpc_limits.bytes_per_principal_max), 2 * MIB,
             16 * GIB, 64 * MIB),
    NUMBER32("limits", "handshake_timeout_ms", AT(grpc_limits.handshake_timeout_ms), 100, 600000,
             5000),
    NUMBER32("limits", "body_timeout_ms", AT(grpc_limits.body_timeout_ms), 100, 600000, 8000),
    NUMBER32("limits", "idle_timeout_ms", AT(grpc_limits.idle_timeout_ms), 1000, 86400000, 300000),
    NUMBER32("limits", "ping_interval_ms", AT(grpc_limits.ping_interval_ms), 1000, 3600000, 30000),
    NUMBER32("limits", "connection_age_ms", AT(grpc_limits.connection_age_ms), 1000, 86400000,
             2700000),
    NUMBER32("limits", "requests_per_principal", AT(requests_per_principal), 1, 65536, 1024),
    NUMBER32("limits", "requests", AT(requests_max), 1, 65536, 4096),
    NUMBER64("limits", "request_bytes", AT(request_bytes_max), 2 * MIB, 16 * GIB, 256 * MIB),
    NUMBER32("limits", "entries_in_flight", AT(entries_in_flight), 1, 64, 4),
    NUMBER32("limits", "read_wait_ms", AT(read_wait_ms), 1, 600000, 10000),
    NUMBER32("limits", "drain_ms", AT(drain_ms), 0, 600000, 10000),

    NUMBER32("checkpoint", "transfers", AT(checkpoint_transfers), 16384, 16 * MIB,
             EPOCH_TRANSFERS_DEFAULT),
    NUMBER64("checkpoint", "interval_ms", AT(checkpoint_interval_ms), 10, 86400000, 1000),
    NUMBER64("checkpoint", "bloom_bytes", AT(bloom_bytes), 1 * MIB, 256 * GIB, 512 * MIB),
    NUMBER64("checkpoint", "map_size_bytes", AT(map_size_bytes), 64 * MIB, 64 * TIB, 1 * TIB),

    NUMBER64("journal", "segment_bytes", AT(segment_bytes), 2 * MIB, 1 * GIB, 64 * MIB),
    NUMBER64("journal", "release_bytes", AT(release_bytes), 0, 16 * TIB, 32 * GIB),
    NUMBER64("disk", "watermark_bytes", AT(watermark_bytes), 0, 16 * TIB, 256 * MIB),
    {"log", "level", KEY_LEVEL, AT(log_level), false, 0, 0, LOG_LEVEL_INFO, NULL},
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

struct loader {
    const char *file;
    char directory[CONFIG_PATH_SIZE]; /* of the file */
    struct config *config;
    struct config_error *error;
    bool seen[KEY_COUNT];
};

__attribute__((format(printf, 3, 4))) static enum status refuse(struct loader *loader, size_t line,
                                                                const char *format, ...)
{
    int size = line > 0 ? snprintf(loader->error->text, sizeof loader->error->text,
                                   "%.300s:%zu: ", loader->file, line)
                        : snprintf(loader->error->text, sizeof loader->error->text,
                                   "%.300s: ", loader->file);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(loader->error->text + size, sizeof loader->error->text - (size_t)size, format,
              arguments);
    va_end(arguments);
    return STATUS_INVALID;
}

/* ---- values ---- */

/* "request_bytes", "bytes_per_principal": sizes may carry a unit. */
static bool key_is_size(const struct config_key *key)
{
    return strstr(key->name, "bytes") != NULL;
}

static enum status set_number(struct loader *loader, const struct config_key *key, const char *text,
                              size_t line)
{
    uint64_t number;
    bool is_size = key_is_size(key);
    if (!config_parse_number(text, is_size, &number) || number < key->low || number > key->high)
        return refuse(loader, line,
                      "%s.%s is \"%.80s\"; allowed is a whole number from %" PRIu64 " to %" PRIu64
                      "%s",
                      key->section, key->name, text, key->low, key->high,
                      is_size ? " bytes, or one followed by KiB, MiB, GiB or TiB" : "");
    char *field = (char *)loader->config + key->offset;
    if (key->kind == KEY_UINT32) {
        uint32_t number_32 = (uint32_t)number;
        memcpy(field, &number_32, sizeof number_32);
    } else {
        memcpy(field, &number, sizeof number);
    }
    return STATUS_OK;
}

static enum status set_text(struct loader *loader, const struct config_key *key, const char *text,
                            size_t line)
{
    char *field = (char *)loader->config + key->offset;
    bool below = key->kind == KEY_PATH && text[0] != '/' && text[0] != '\0';
    if (key->required && !*text)
        return refuse(loader, line, "%s.%s is empty; it is needed", key->section, key->name);
    int size = below ? snprintf(field, key->high, "%s/%s", loader->directory, text)
                     : snprintf(field, key->high, "%s", text);
    if (size < 0 || (uint64_t)size >= key->high)
        return refuse(loader, line, "%s.%s is longer than the %" PRIu64 " bytes allowed",
                      key->section, key->name, key->high - 1);
    return STATUS_OK;
}

static enum status set_value(struct loader *loader, const struct config_key *key, const char *text,
                             size_t line)
{
    char *field = (char *)loader->config + key->offset;
    switch (key->kind) {
    case KEY_PATH:
    case KEY_TEXT:
        return set_text(loader, key, text, line);
    case KEY_UINT32:
    case KEY_UINT64:
        return set_number(loader, key, text, line);
    case KEY_BOOL: {
        bool value = strcmp(text, "true") == 0;
        if (!value && strcmp(text, "false") != 0)
            return refuse(loader, line, "%s.%s is \"%.80s\"; allowed are true and false",
                          key->section, key->name, text);
        memcpy(field, &value, sizeof value);
        return STATUS_OK;
    }
    case KEY_ADDRESS:
        if (!config_parse_address(text, (struct config_address *)(void *)field))
            return refuse(loader, line,
                          "%s.%s is \"%.80s\"; allowed is a numeric address and a port, like "
                          "127.0.0.1:7400 or [::1]:7400 (port 0: any free one)",
                          key->section, key->name, text);
        return STATUS_OK;
    case KEY_LEVEL: {
        enum log_level level = log_level_by_name(text);
        if (level == LOG_LEVEL_COUNT)
            return refuse(loader, line,
                          "%s.%s is \"%.80s\"; allowed are debug, info, warning and error",
                          key->section, key->name, text);
        memcpy(field, &level, sizeof level);
        return STATUS_OK;
    }
    }
    invariant_values(false, key->kind, 0);
    return STATUS_INVALID;
}

static void set_initial(struct config *config, const struct config_key *key)
{
    char *field = (char *)config + key->offset;
    uint32_t number_32 = (uint32_t)key->initial;
    enum log_level level = (enum log_level)key->initial;
    switch (key->kind) {
    case KEY_PATH:
    case KEY_TEXT:
        memcpy(field, key->initial_text, strlen(key->initial_text) + 1);
        break;
    case KEY_BOOL:
        *(bool *)field = key->initial != 0;
        break;
    case KEY_UINT32:
        memcpy(field, &number_32, sizeof number_32);
        break;
    case KEY_UINT64:
        memcpy(field, &key->initial, sizeof key->initial);
        break;
    case KEY_ADDRESS:
        if (key->initial_text) {
            bool valid =
                config_parse_address(key->initial_text, (struct config_address *)(void *)field);
            invariant(valid);
        }
        break;
    case KEY_LEVEL:
        memcpy(field, &level, sizeof level);
        break;
    }
}

/* ---- the tree ---- */

static size_t node_line(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

static const char *node_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static const char *node_kind(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a mapping";
    case YAML_NO_NODE:
        break;
    }
    return "nothing";
}

/* "a, b, c" of the sections (section NULL) or of one section's keys. */
static void list_allowed(const char *section, char *out, size_t capacity)
{
    size_t size = 0;
    out[0] = '\0';
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (section && strcmp(keys[i].section, section) != 0)
            continue;
        if (!section && i > 0 && strcmp(keys[i].section, keys[i - 1].section) == 0)
            continue;
        int added = snprintf(out + size, capacity - size, "%s%s", size ? ", " : "",
                             section ? keys[i].name : keys[i].section);
        if (added < 0 || (size_t)added >= capacity - size)
            return;
        size += (size_t)added;
    }
}

static bool section_exists(const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].section, name) == 0)
            return true;
    return false;
}

static enum status load_pair(struct loader *loader, const char *section, const yaml_node_t *name,
                             const yaml_node_t *value)
{
    if (name->type != YAML_SCALAR_NODE)
        return refuse(loader, node_line(name), "a key of %s is %s; it must be a word", section,
                      node_kind(name));
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const struct config_key *key = &keys[i];
        if (strcmp(key->section, section) != 0 || strcmp(key->name, node_text(name)) != 0)
            continue;
        if (loader->seen[i])
            return refuse(loader, node_line(name), "%s.%s is given twice; remove one", section,
                          key->name);
        loader->seen[i] = true;
        if (value->type != YAML_SCALAR_NODE)
            return refuse(loader, node_line(value), "%s.%s is %s; a single value is needed",
                          section, key->name, node_kind(value));
        bool quoted = value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        bool needs_plain =
            key->kind == KEY_BOOL || key->kind == KEY_UINT32 || key->kind == KEY_UINT64;
        if (quoted && needs_plain)
            return refuse(loader, node_line(value),
                          "%s.%s is text in quotes; %s is needed, without quotes", section,
                          key->name, key->kind == KEY_BOOL ? "true or false" : "a whole number");
        if (strlen(node_text(value)) != value->data.scalar.length)
            return refuse(loader, node_line(value), "%s.%s contains a zero byte", section,
                          key->name);
        return set_value(loader, key, node_text(value), node_line(value));
    }
    char allowed[384];
    list_allowed(section, allowed, sizeof allowed);
    return refuse(loader, node_line(name), "unknown key \"%.60s\" in %s; allowed are: %s",
                  node_text(name), section, allowed);
}

static enum status load_section(struct loader *loader, yaml_document_t *document,
                                const yaml_node_t *name, const yaml_node_t *value)
{
    char allowed[384];
    if (name->type != YAML_SCALAR_NODE || !section_exists(node_text(name))) {
        list_allowed(NULL, allowed, sizeof allowed);
        return refuse(loader, node_line(name), "unknown section \"%.60s\"; allowed are: %s",
                      name->type == YAML_SCALAR_NODE ? node_text(name) : node_kind(name), allowed);
    }
    const char *section = node_text(name);
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0 &&
        value->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        return STATUS_OK; /* a section whose keys are all commented out */
    if (value->type != YAML_MAPPING_NODE) {
        list_allowed(section, allowed, sizeof allowed);
        return refuse(loader, node_line(value), "%s is %s; it must be a mapping of: %s", section,
                      node_kind(value), allowed);
    }
    for (yaml_node_pair_t *pair = value->data.mapping.pairs.start;
         pair < value->data.mapping.pairs.top; pair++) {
        enum status status = load_pair(loader, section, yaml_document_get_node(document, pair->key),
                                       yaml_document_get_node(document, pair->value));
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status load_document(struct loader *loader, yaml_document_t *document)
{
    const yaml_node_t *root = yaml_document_get_root_node(document);
    char allowed[384];
    list_allowed(NULL, allowed, sizeof allowed);
    if (!root)
        return refuse(loader, 0,
                      "the file is empty; needed are at least node.directory, "
                      "tls.certificate, tls.key and tls.ca");
    if (root->type != YAML_MAPPING_NODE)
        return refuse(loader, node_line(root), "the file is %s; it must be a mapping of: %s",
                      node_kind(root), allowed);
    const yaml_node_pair_t *first = root->data.mapping.pairs.start;
    for (const yaml_node_pair_t *pair = first; pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(document, pair->key);
        for (const yaml_node_pair_t *earlier = first; earlier < pair; earlier++) {
            const yaml_node_t *other = yaml_document_get_node(document, earlier->key);
            if (name->type == YAML_SCALAR_NODE && strcmp(node_text(name), node_text(other)) == 0)
                return refuse(loader, node_line(name), "section %s is given twice; merge the two",
                              node_text(name));
        }
        enum status status =
            load_section(loader, document, name, yaml_document_get_node(document, pair->value));
        if (status != STATUS_OK)
            return status;
    }
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (keys[i].required && !loader->seen[i])
            return refuse(loader, 0, "%s.%s is missing; it is needed", keys[i].section,
                          keys[i].name);
    return STATUS_OK;
}

static enum status load_text(struct loader *loader, const unsigned char *text, size_t size)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return STATUS_NO_MEMORY;
    yaml_parser_set_input_string(&parser, text, size);
    enum status status;
    yaml_document_t document;
    if (!yaml_parser_load(&parser, &document)) {
        status = refuse(loader, parser.problem_mark.line + 1, "not YAML: %s",
                        parser.problem ? parser.problem : "unreadable");
    } else {
        status = load_document(loader, &document);
        yaml_document_delete(&document);
        if (status == STATUS_OK && yaml_parser_load(&parser, &document)) {
            if (yaml_document_get_root_node(&document))
                status = refuse(loader, document.start_mark.line + 1,
                                "a second document begins here; only one is allowed");
            yaml_document_delete(&document);
        } else if (status == STATUS_OK) {
            status = refuse(loader, parser.problem_mark.line + 1, "not YAML: %s",
                            parser.problem ? parser.problem : "unreadable");
        }
    }
    yaml_parser_delete(&parser);
    return status;
}

static enum status open_status(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EACCES:
    case EPERM:
        return STATUS_PERMISSION;
    default:
        return STATUS_IO;
    }
}

static enum status read_file(struct loader *loader, unsigned char *bytes, size_t capacity,
                             size_t *out_size)
{
    int descriptor = open(loader->file, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        int error = errno;
        (void)refuse(loader, 0, "cannot be opened: %s; give the file's path with --config",
                     strerror(error));
        return open_status(error);
    }
    size_t size = 0;
    ssize_t got = 0;
    while (size < capacity && (got = read(descriptor, bytes + size, capacity - size)) > 0)
        size += (size_t)got;
    int error = errno;
    close(descriptor);
    if (got < 0) {
        (void)refuse(loader, 0, "cannot be read: %s", strerror(error));
        return STATUS_IO;
    }
    if (size == capacity)
        return refuse(loader, 0, "is larger than the %d bytes allowed", CONFIG_FILE_SIZE_MAX);
    *out_size = size;
    return STATUS_OK;
}

static bool is_same(const struct config_address *a, const struct config_address *b)
{
    return a->port != 0 && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* Bounds that only make sense together, and what a range cannot say. */
static enum status check_together(struct loader *loader)
{
    const struct config *config = loader->config;
    if (config->request_bytes_max < config->grpc_limits.bytes_per_principal_max)
        return refuse(loader, 0,
                      "limits.request_bytes (%" PRIu64
                      ") is below limits.bytes_per_principal (%" PRIu64
                      "): one principal alone would pass it; raise the first or lower the second",
                      config->request_bytes_max, config->grpc_limits.bytes_per_principal_max);
    if (config->segment_bytes % 4096 != 0)
        return refuse(loader, 0,
                      "journal.segment_bytes (%" PRIu64 ") is no multiple of 4096; %" PRIu64
                      " would be one",
                      config->segment_bytes, config->segment_bytes / 4096 * 4096);
    if (is_same(&config->grpc, &config->ops))
        return refuse(loader, 0,
                      "listen.grpc and listen.ops are the same address; give ops "
                      "another port");
    if (is_same(&config->peer, &config->grpc) || is_same(&config->peer, &config->ops))
        return refuse(loader, 0,
                      "peer.listen is the same address as listen.grpc or listen.ops; give peers "
                      "another port");
    if (config->election_ms < 4 * config->heartbeat_ms)
        return refuse(loader, 0,
                      "cluster.election_ms (%" PRIu32 ") is below 4 times cluster.heartbeat_ms "
                      "(%" PRIu32 "): one heartbeat that comes late would start an election",
                      config->election_ms, config->heartbeat_ms);
    if (!config->peer_uri_prefix[0])
        return refuse(loader, 0,
                      "peer.uri_prefix is empty; it is what a peer's certificate has in front of "
                      "its node id, like spiffe://tallystick/node/");
    return STATUS_OK;
}

enum status config_load(const char *file, struct config *out_config, struct config_error *out_error)
{
    out_error->text[0] = '\0';
    struct config config;
    memset(&config, 0, sizeof config);
    for (size_t i = 0; i < KEY_COUNT; i++)
        set_initial(&config, &keys[i]);
    struct loader loader = {.file = file, .config = &config, .error = out_error};

    char absolute[PATH_MAX];
    if (realpath(file, absolute)) {
        const char *directory = dirname(absolute);
        if (strlen(directory) >= sizeof loader.directory)
            return refuse(&loader, 0, "lies in a directory whose path is longer than %d bytes",
                          CONFIG_PATH_SIZE - 1);
        memcpy(loader.directory, directory, strlen(directory) + 1);
    }
    unsigned char *bytes = malloc(CONFIG_FILE_SIZE_MAX + 1);
    if (!bytes)
        return STATUS_NO_MEMORY;
    size_t size = 0;
    enum status status = read_file(&loader, bytes, CONFIG_FILE_SIZE_MAX + 1, &size);
    if (status == STATUS_OK)
        status = load_text(&loader, bytes, size);
    free(bytes);
    if (status == STATUS_OK)
        status = check_together(&loader);
    if (status == STATUS_OK)
        *out_config = config;
    return status;
}
