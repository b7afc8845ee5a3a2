/*
 * Records and events: all memory of a run, taken before its first canary.
 *
 * A record is 136 bytes, so 500 000 of them per site are 68 MB that the kernel hands out page by
 * page as they are used. When they are full the run ends with its report, rather than forgetting
 * either the oldest or the newest requests in silence. Events beyond their bound are counted as
 * lost.
 */
#include "client/cli/observe.h"

#include "core/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *observe_outcome_name(uint8_t outcome)
{
    static const char *const names[OBSERVE_OUTCOME_COUNT] = {
        [OBSERVE_WAITING] = "waiting",           [OBSERVE_UNKNOWN] = "unknown",
        [OBSERVE_ACKNOWLEDGED] = "acknowledged", [OBSERVE_REFUSED] = "refused",
        [OBSERVE_NOT_EXECUTED] = "not executed", [OBSERVE_NOT_SENT] = "not sent",
        [OBSERVE_FOUND_POSTED] = "found posted", [OBSERVE_FOUND_REFUSED] = "found refused",
        [OBSERVE_FOUND_NEVER] = "found never",
    };
    return outcome < OBSERVE_OUTCOME_COUNT ? names[outcome] : "?";
}

const char *observe_event_kind_name(uint8_t kind)
{
    static const char *const names[OBSERVE_EVENT_KIND_COUNT] = {
        [OBSERVE_EVENT_MARK] = "mark",     [OBSERVE_EVENT_LEADER] = "leader",
        [OBSERVE_EVENT_RULE] = "rule",     [OBSERVE_EVENT_REFUSAL] = "refusal",
        [OBSERVE_EVENT_SERVER] = "server",
    };
    return kind < OBSERVE_EVENT_KIND_COUNT ? names[kind] : "?";
}

uint64_t observe_now(const struct observe *run)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* fails for unknown clocks only */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - run->origin_ns;
}

bool observe_records_init(struct observe *run)
{
    run->events = calloc(OBSERVE_EVENTS_MAX, sizeof *run->events);
    bool made = run->events != NULL;
    for (size_t i = 0; made && i < run->site_count; i++) {
        run->sites[i].records = calloc(run->records_max, sizeof *run->sites[i].records);
        made = run->sites[i].records != NULL;
    }
    if (!made)
        observe_records_deinit(run);
    return made;
}

void observe_records_deinit(struct observe *run)
{
    for (size_t i = 0; i < run->site_count; i++) {
        free(run->sites[i].records);
        run->sites[i].records = NULL;
    }
    free(run->events);
    run->events = NULL;
}

/* Foreign bytes, or a text cut within a letter, become printable. */
static void clean(char *text)
{
    size_t size = strlen(text);
    if (size == 0 || text_is_name(text, size, size))
        return;
    for (size_t i = 0; i < size; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
}

void observe_note_failure(struct observe *run, uint8_t site, uint8_t server, const char *text)
{
    char words[OBSERVE_TEXT_SIZE];
    if (run->sites[site].words[0] != '\0')
        return;
    (void)snprintf(words, sizeof words, "%.80s: %.100s", run->servers[server].name,
                   text[0] != '\0' ? text : "no reason was given"); /* cut to fit */
    clean(words);
    memcpy(run->sites[site].words, words, sizeof words);
}

void observe_event(struct observe *run, enum observe_event_kind kind, const char *format, ...)
{
    if (run->event_count == OBSERVE_EVENTS_MAX) {
        run->events_lost++;
        return;
    }
    struct observe_event *event = &run->events[run->event_count++];
    va_list list;
    event->at_ns = observe_now(run);
    event->kind = (uint8_t)kind;
    va_start(list, format);
    (void)vsnprintf(event->text, sizeof event->text, format, list); /* cut to fit */
    va_end(list);
    clean(event->text);
}

/* ---- --site A=host:port,host:port ---- */

static bool server_parse(struct observe *run, const char *text, size_t size,
                         char out_error[OBSERVE_TEXT_SIZE])
{
    const char *colon = memrchr(text, ':', size);
    struct observe_server *server = &run->servers[run->server_count];
    if (run->server_count == OBSERVE_SERVERS_MAX) {
        snprintf(out_error, OBSERVE_TEXT_SIZE, "more than %d servers", OBSERVE_SERVERS_MAX);
        return false;
    }
    size_t host_size = colon != NULL ? (size_t)(colon - text) : 0;
    const char *host = text;
    bool valid = host_size > 0;
    if (valid && *host == '[') { /* [v6] */
        valid = host_size > 2 && host[host_size - 1] == ']';
        host++;
        host_size -= valid ? 2 : 0;
    } else if (valid) {
        valid = memchr(host, ':', host_size) == NULL;
    }
    valid = valid && host_size < sizeof server->host && size < sizeof server->name;
    uint32_t port = 0;
    for (const char *at = colon + 1; valid && at < text + size; at++) {
        valid = *at >= '0' && *at <= '9' && port <= 65535;
        port = port * 10 + (uint32_t)(*at - '0');
    }
    if (!valid || port == 0 || port > 65535) {
        snprintf(out_error, OBSERVE_TEXT_SIZE,
                 "\"%.*s\" is no server: expected host:port (IPv6 as [address]:port)",
                 (int)(size < 60 ? size : 60), text);
        return false;
    }
    *server = (struct observe_server){.port = (uint16_t)port, .site = (uint8_t)run->site_count};
    memcpy(server->host, host, host_size);
    memcpy(server->name, text, size);
    run->server_count++;
    return true;
}

bool observe_site_parse(struct observe *run, const char *text, char out_error[OBSERVE_TEXT_SIZE])
{
    const char *equals = strchr(text, '=');
    if (run->site_count == OBSERVE_SITES_MAX) {
        snprintf(out_error, OBSERVE_TEXT_SIZE, "more than %d sites", OBSERVE_SITES_MAX);
        return false;
    }
    struct observe_site *site = &run->sites[run->site_count];
    size_t name_size = equals != NULL ? (size_t)(equals - text) : 0;
    if (name_size == 0 || !text_is_name(text, name_size, sizeof site->name - 1)) {
        snprintf(out_error, OBSERVE_TEXT_SIZE,
                 "expected NAME=host:port,... with a name of at most %zu bytes",
                 sizeof site->name - 1);
        return false;
    }
    *site = (struct observe_site){.first_server = (uint8_t)run->server_count};
    memcpy(site->name, text, name_size);
    for (size_t i = 0; i < run->site_count; i++) {
        if (strcmp(run->sites[i].name, site->name) == 0) {
            snprintf(out_error, OBSERVE_TEXT_SIZE, "site %s is given twice", site->name);
            return false;
        }
    }
    for (const char *at = equals + 1;;) {
        size_t size = strcspn(at, ",");
        if (!server_parse(run, at, size, out_error))
            return false;
        site->server_count++;
        if (at[size] == '\0')
            break;
        at += size + 1;
    }
    run->site_count++;
    return true;
}
