/*
 * What can happen to a node that an operator should hear of: one table of events for the log and
 * for the counter tally_events_total{event=...}, so that every line in the log can be alarmed on
 * and every alarm found in the log.
 */
#ifndef TALLY_SERVER_EVENT_H
#define TALLY_SERVER_EVENT_H

#include <stdint.h>

enum log_level {
    LOG_LEVEL_DEBUG,
    LOG_LEVEL_INFO,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_ERROR,
    LOG_LEVEL_COUNT
};

enum event {
    EVENT_STARTING,
    EVENT_LISTENING,
    EVENT_PORTS_FILE_MISSING,
    EVENT_PRIVILEGES_DROPPED,
    EVENT_DRAINING,
    EVENT_DRAIN_HURRIED,
    EVENT_STOPPED,
    EVENT_NODE_FAILED,
    EVENT_START_FAILED,
    EVENT_CERTIFICATES_RELOADED,
    EVENT_CERTIFICATES_REFUSED,
    EVENT_ACCESS_DENIED,
    EVENT_REQUEST_MALFORMED,
    EVENT_BUSY,
    EVENT_OPS_HTTP_FAILED,
    /* Reported by the node (replication/node/node.h). */
    EVENT_JOURNAL_TORN_TAIL_CUT,
    EVENT_STORE_REBUILDING,
    EVENT_NODE_REPLAY_STARTED,
    EVENT_NODE_REPLAY_DONE,
    EVENT_NODE_SERVING,
    EVENT_CHECKPOINT_DONE,
    EVENT_CHECKPOINT_DISK_FULL,
    EVENT_CHECKPOINT_SLOW,
    EVENT_DISK_LOW,
    EVENT_DISK_RECOVERED,
    EVENT_DISK_ROOM_SMALL,
    EVENT_JOURNAL_READ_ONLY,
    EVENT_JOURNAL_WRITABLE,
    EVENT_DISK_STUCK,
    EVENT_DISK_ANSWERS,
    EVENT_CLOCK_BEHIND,
    EVENT_ENTRY_REFUSED,
    EVENT_NODE_DRAINING,
    EVENT_NODE_STOPPED,
    EVENT_STOP_HUNG,
    EVENT_CERTIFICATE_UNREADABLE,
    EVENT_CERTIFICATE_UNSIGNED,
    EVENT_CERTIFICATE_UNWRITTEN,
    EVENT_FLOORS_UNREADABLE,
    EVENT_FLOORS_UNWRITTEN,
    EVENT_FAIL_STOP,
    /* Reported by the node about its cluster. */
    EVENT_LEADER_CHANGED,
    EVENT_LEADER_ELECTED,
    EVENT_LEADER_TRANSFER,
    EVENT_LEADER_DISK_STUCK,
    EVENT_LEADER_CLOCK_SKEW,
    EVENT_DURABILITY_DEGRADED,
    EVENT_DURABILITY_RETURNED,
    EVENT_DURABILITY_POLICY,
    EVENT_DURABILITY_RELEASED,
    EVENT_DURABILITY_HELD_UP,
    EVENT_DURABILITY_CAPPED,
    EVENT_DEGRADED_BOUND,
    EVENT_DEGRADED_REFUSES,
    EVENT_LEADER_LEAVES_DRAINED,
    EVENT_LEADER_TO_PREFERRED,
    EVENT_PEER_BEHIND,
    EVENT_PEER_LOST_ENTRIES,
    EVENT_PEER_MALFORMED,
    EVENT_CATCH_UP_STARTED,
    EVENT_CATCH_UP_PROGRESS,
    EVENT_CATCH_UP_DONE,
    EVENT_CATCH_UP_FAILED,
    EVENT_CATCH_UP_SERVING,
    EVENT_CATCH_UP_SERVED,
    EVENT_CATCH_UP_ENDED,
    EVENT_CATCH_UP_PACING,
    EVENT_CATCH_UP_PACING_ENDED,
    EVENT_CATCH_UP_NOT_CLOSING,
    EVENT_NODE_REINSTALLING,
    EVENT_REINSTALL_FAILED,
    EVENT_QUARANTINED,
    /* Reported by the service of site operations: who, what, why, and how it ended. */
    EVENT_SITE_OPERATION_BEGUN,
    EVENT_SITE_OPERATION_ENDED,
    EVENT_SITE_OPERATION_REFUSED,
    EVENT_SITE_DRAINED,
    EVENT_SITE_RESUMED,
    /* Reported by the connections between nodes (replication/peers/peers.h). */
    EVENT_PEER_UP,
    EVENT_PEER_DOWN,
    EVENT_PEER_REFUSED,
    EVENT_PEER_REFUSES_US,
    EVENT_PEER_UNREACHABLE,
    EVENT_PEER_ACCEPT_FAILED,
    /* Reported by the gRPC engine. */
    EVENT_CONNECTION_REFUSED,
    EVENT_CONNECTION_FAILED,
    EVENT_CONNECTION_CUT,
    EVENT_CONNECTION_SILENT,
    EVENT_IDENTITY_REFUSED,
    EVENT_HANDSHAKE_FAILED,
    EVENT_HANDSHAKE_TIMEOUT,
    EVENT_HANDSHAKE_EVICTED,
    EVENT_ACCEPT_FAILED,
    EVENT_CERTIFICATE_EXPIRES,
    EVENT_CRL_EXPIRES,
    EVENT_EVENTS_SUPPRESSED,
    /* Under another name: the name is a field of the line. */
    EVENT_NODE,
    EVENT_GRPC,
    EVENT_COUNT
};

/* Stable name, as in the log and in metrics. */
const char *event_name(enum event event);
/* The event of that name, or `otherwise`. */
enum event event_by_name(const char *name, enum event otherwise);
enum log_level event_level(enum event event);
/* One sentence for docs/operations-node.md and the metric's readers. */
const char *event_meaning(enum event event);
/* Key of the first or second number that the node reports with the event (replication/node/node.h);
 * NULL when it has none. */
#define EVENT_NUMBER_COUNT 2
const char *event_number_name(enum event event, unsigned number);
/* Lines of this event per minute before the rest is only counted; 0 = no bound. */
uint32_t event_lines_per_minute(enum event event);

const char *log_level_name(enum log_level level);
/* LOG_LEVEL_COUNT when the word is no level. */
enum log_level log_level_by_name(const char *name);

#endif
