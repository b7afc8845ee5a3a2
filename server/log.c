/*
 * Lines, their quoting and their rate. Each event has a bucket of lines per minute (event.c): a
 * client that fails its handshake ten thousand times a second costs a counter, not a disk. What was
 * held back is told by the next line of the event. Layers below report from their own threads, so
 * counters and buckets sit behind one mutex; the write itself is one system call and needs none.
 */
#include "server/log.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MINUTE (60 * NS_PER_SECOND)
/* Room kept at the end of a line for the mark of a cut, the suppressed count and the newline. */
#define LINE_TAIL 64

struct event_rate {
    uint64_t count;
    uint64_t window_start_ns;
    uint32_t lines;
    uint64_t suppressed;
};

struct log {
    int descriptor;
    enum log_level level;
    uint64_t fixed_now_ns;
    pthread_mutex_t mutex;
    struct log_position position; /* node_id 0: none yet */
    struct event_rate rates[EVENT_COUNT];
};

struct log *log_create(int descriptor, enum log_level level)
{
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->descriptor = descriptor;
    log->level = level;
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

void log_destroy(struct log *log)
{
    if (!log)
        return;
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

static void append(struct log_line *line, const char *bytes, size_t size)
{
    if (line->cut)
        return;
    if (size > LOG_LINE_SIZE - LINE_TAIL - line->size) {
        line->cut = true;
        return;
    }
    memcpy(line->text + line->size, bytes, size);
    line->size += size;
}

/* Length of the well-formed UTF-8 sequence at `text`, or 0. Overlong forms and surrogates are not.
 */
static size_t utf8_length(const unsigned char *text)
{
    if (text[0] < 0x80)
        return 1;
    size_t length = text[0] >= 0xc2 && text[0] <= 0xdf   ? 2
                    : text[0] >= 0xe0 && text[0] <= 0xef ? 3
                    : text[0] >= 0xf0 && text[0] <= 0xf4 ? 4
                                                         : 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if (text[0] == 0xe0 && text[1] < 0xa0)
        return 0;
    if (text[0] == 0xed && text[1] > 0x9f)
        return 0;
    if (text[0] == 0xf0 && text[1] < 0x90)
        return 0;
    if (text[0] == 0xf4 && text[1] > 0x8f)
        return 0;
    return length;
}

static bool needs_quotes(const unsigned char *value)
{
    if (!*value)
        return true;
    for (; *value; value++)
        if (*value <= ' ' || *value == '"' || *value == '=' || *value == '\\' || *value >= 0x7f)
            return true;
    return false;
}

static void append_quoted(struct log_line *line, const unsigned char *value)
{
    append(line, "\"", 1);
    if (line->cut)
        return;
    while (*value && !line->cut) {
        char escaped[8];
        size_t length = utf8_length(value);
        if (*value == '"' || *value == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)*value;
            append(line, escaped, 2);
        } else if (*value == '\n') {
            append(line, "\\n", 2);
        } else if (length == 0 || *value < ' ' || *value == 0x7f) {
            length = 1;
            snprintf(escaped, sizeof escaped, "\\x%02x", *value);
            append(line, escaped, 4);
        } else {
            append(line, (const char *)value, length);
        }
        value += length ? length : 1;
    }
    line->text[line->size++] = '"'; /* also after a cut: LINE_TAIL has room */
}

void log_begin(struct log_line *line, enum event event)
{
    line->event = event;
    line->cut = false;
    line->size = 0;
}

static void append_key(struct log_line *line, const char *key)
{
    append(line, " ", 1);
    append(line, key, strlen(key));
    append(line, "=", 1);
}

void log_text(struct log_line *line, const char *key, const char *value)
{
    const unsigned char *bytes = (const unsigned char *)(value ? value : "");
    append_key(line, key);
    if (needs_quotes(bytes))
        append_quoted(line, bytes);
    else
        append(line, value, strlen(value));
}

void log_number(struct log_line *line, const char *key, uint64_t value)
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%" PRIu64, value);
    append_key(line, key);
    append(line, digits, (size_t)size);
}

static uint64_t log_now_ns(const struct log *log)
{
    if (log->fixed_now_ns)
        return log->fixed_now_ns;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* Under the mutex. Whether this line may leave; *out_suppressed tells how many did not before it.
 */
static bool rate_allows(struct event_rate *rate, uint32_t lines_per_minute, uint64_t now_ns,
                        uint64_t *out_suppressed)
{
    rate->count++;
    *out_suppressed = 0;
    if (lines_per_minute == 0)
        return true;
    if (now_ns - rate->window_start_ns >= NS_PER_MINUTE) {
        rate->window_start_ns = now_ns;
        rate->lines = 0;
    }
    if (rate->lines >= lines_per_minute) {
        rate->suppressed++;
        return false;
    }
    rate->lines++;
    *out_suppressed = rate->suppressed;
    rate->suppressed = 0;
    return true;
}

void log_end(struct log *log, struct log_line *line)
{
    enum log_level level = event_level(line->event);
    uint64_t now_ns = log_now_ns(log);
    uint64_t suppressed;

    pthread_mutex_lock(&log->mutex);
    bool allowed = rate_allows(&log->rates[line->event], event_lines_per_minute(line->event),
                               now_ns, &suppressed);
    const struct log_position position = log->position;
    pthread_mutex_unlock(&log->mutex);
    if (!allowed || level < log->level)
        return;

    time_t seconds = (time_t)(now_ns / NS_PER_SECOND);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char date[32];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);

    char head[256];
    int head_size = snprintf(head, sizeof head, "time=%s.%06uZ level=%s event=%s", date,
                             (unsigned)(now_ns % NS_PER_SECOND / 1000), log_level_name(level),
                             event_name(line->event));
    invariant(head_size > 0 && (size_t)head_size < sizeof head);
    if (position.node_id != 0) {
        size_t left = sizeof head - (size_t)head_size;
        int size =
            snprintf(head + head_size, left, " node=%" PRIu64 " term=%" PRIu64 " index=%" PRIu64,
                     position.node_id, position.term, position.index);
        invariant(size > 0 && (size_t)size < left);
        head_size += size;
    }
    char tail[LINE_TAIL];
    int tail_size = suppressed > 0
                        ? snprintf(tail, sizeof tail, "%s suppressed=%" PRIu64 "\n",
                                   line->cut ? " cut=..." : "", suppressed)
                        : snprintf(tail, sizeof tail, "%s\n", line->cut ? " cut=..." : "");
    invariant(tail_size > 0 && (size_t)tail_size < sizeof tail);

    char whole[sizeof head + LOG_LINE_SIZE + LINE_TAIL];
    size_t size = 0;
    memcpy(whole, head, (size_t)head_size);
    size += (size_t)head_size;
    memcpy(whole + size, line->text, line->size);
    size += line->size;
    memcpy(whole + size, tail, (size_t)tail_size);
    size += (size_t)tail_size;
    /* A log that cannot be written has nobody to be told; the counters still tell. */
    ssize_t ignored = write(log->descriptor, whole, size);
    (void)ignored;
}

void log_set_position(struct log *log, const struct log_position *position)
{
    pthread_mutex_lock(&log->mutex);
    log->position = *position;
    pthread_mutex_unlock(&log->mutex);
}

uint64_t log_event_count(const struct log *log, enum event event)
{
    invariant(event < EVENT_COUNT);
    return __atomic_load_n(&log->rates[event].count, __ATOMIC_RELAXED);
}

void log_set_clock(struct log *log, uint64_t now_ns)
{
    log->fixed_now_ns = now_ns;
}
