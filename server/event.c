/*
 * The table of events. A row's order is the enum's; its words are the documentation. Lower layers
 * report a name and a sentence: a name that has a row is that event, any other is filed under
 * EVENT_NODE or EVENT_GRPC with the name as a field, so nothing that is reported can get lost here.
 */
#include "server/event.h"

#include "core/invariant.h"

#include <string.h>

struct event_row {
    const char *name;
    enum log_level level;
    uint32_t lines_per_minute;
    const char *meaning;
    const char *numbers[EVENT_NUMBER_COUNT]; /* names of a and b in node.h; NULL: not shown */
};

static const struct event_row event_table[EVENT_COUNT] = {
    [EVENT_STARTING] =
        {"starting", LOG_LEVEL_INFO, 0, "The process began; version and files.", {NULL, NULL}},
    [EVENT_LISTENING] =
        {"listening", LOG_LEVEL_INFO, 0, "A port is open; its address.", {NULL, NULL}},
    [EVENT_PORTS_FILE_MISSING] = {"ports_file_missing",
                                  LOG_LEVEL_WARNING,
                                  0,
                                  "The disk is too full for ports.json; the ports are in the log.",
                                  {NULL, NULL}},
    [EVENT_PRIVILEGES_DROPPED] = {"privileges_dropped",
                                  LOG_LEVEL_INFO,
                                  0,
                                  "Started as root, now the configured user for good.",
                                  {NULL, NULL}},
    [EVENT_DRAINING] = {"draining",
                        LOG_LEVEL_INFO,
                        0,
                        "Stopping: no new requests, those in flight finish.",
                        {NULL, NULL}},
    [EVENT_DRAIN_HURRIED] = {"drain_hurried",
                             LOG_LEVEL_WARNING,
                             0,
                             "A second signal: clients get no time to finish, data still does.",
                             {NULL, NULL}},
    [EVENT_STOPPED] =
        {"stopped", LOG_LEVEL_INFO, 0, "Everything is durable; the process exits.", {NULL, NULL}},
    [EVENT_NODE_FAILED] = {"node_failed",
                           LOG_LEVEL_ERROR,
                           0,
                           "Fail-stop: the process exits and must not go on with this state.",
                           {NULL, NULL}},
    [EVENT_START_FAILED] =
        {"start_failed", LOG_LEVEL_ERROR, 0, "The node could not start.", {NULL, NULL}},
    [EVENT_CERTIFICATES_RELOADED] = {"certificates_reloaded",
                                     LOG_LEVEL_INFO,
                                     0,
                                     "SIGHUP: new certificate, key, CA and CRL are in use.",
                                     {NULL, NULL}},
    [EVENT_CERTIFICATES_REFUSED] = {"certificates_refused",
                                    LOG_LEVEL_ERROR,
                                    0,
                                    "SIGHUP: the new files are wrong, the old ones stay in use.",
                                    {NULL, NULL}},
    [EVENT_ACCESS_DENIED] = {"access_denied",
                             LOG_LEVEL_WARNING,
                             60,
                             "A principal asked for what its role does not allow.",
                             {NULL, NULL}},
    [EVENT_REQUEST_MALFORMED] = {"request_malformed",
                                 LOG_LEVEL_WARNING,
                                 60,
                                 "A message was refused before it reached the log.",
                                 {NULL, NULL}},
    [EVENT_BUSY] = {"busy",
                    LOG_LEVEL_WARNING,
                    6,
                    "Requests are pushed back: a bound is reached.",
                    {NULL, NULL}},
    [EVENT_OPS_HTTP_FAILED] = {"ops_http_failed",
                               LOG_LEVEL_WARNING,
                               6,
                               "The HTTP server for probes and metrics reported an error.",
                               {NULL, NULL}},
    [EVENT_JOURNAL_TORN_TAIL_CUT] =
        {"journal_torn_tail_cut",
         LOG_LEVEL_WARNING,
         0,
         "The last run ended within a write; what nobody was promised was cut.",
         {"bytes", "last_index"}},
    [EVENT_STORE_REBUILDING] = {"store_rebuilding",
                                LOG_LEVEL_WARNING,
                                0,
                                "There is no checkpoint: everything is replayed from the journal.",
                                {"first_index", "last_index"}},
    [EVENT_NODE_REPLAY_STARTED] = {"node_replay_started",
                                   LOG_LEVEL_INFO,
                                   0,
                                   "Applying the journal behind the last checkpoint.",
                                   {"first_index", "last_index"}},
    [EVENT_NODE_REPLAY_DONE] = {"node_replay_done",
                                LOG_LEVEL_INFO,
                                0,
                                "The state is that of the journal's end.",
                                {"entries", "ms"}},
    [EVENT_NODE_SERVING] =
        {"node_serving", LOG_LEVEL_INFO, 0, "Requests are accepted.", {"new_term", "commit_index"}},
    [EVENT_CHECKPOINT_DONE] = {"checkpoint_done",
                               LOG_LEVEL_DEBUG,
                               60,
                               "An epoch is durable in the store.",
                               {"durable_index", "ms"}},
    [EVENT_CHECKPOINT_DISK_FULL] = {"checkpoint_disk_full",
                                    LOG_LEVEL_ERROR,
                                    6,
                                    "No room for a checkpoint: free disk space; it is tried again.",
                                    {"epoch_index", NULL}},
    [EVENT_CHECKPOINT_SLOW] = {"checkpoint_slow",
                               LOG_LEVEL_WARNING,
                               6,
                               "A checkpoint takes long; writes will be pushed back.",
                               {"epoch_index", "ms"}},
    [EVENT_DISK_LOW] = {"disk_low",
                        LOG_LEVEL_ERROR,
                        6,
                        "Free space is below the watermark: writes are refused, reads go on.",
                        {"free_bytes", "watermark_bytes"}},
    [EVENT_DISK_RECOVERED] = {"disk_recovered",
                              LOG_LEVEL_INFO,
                              6,
                              "Free space is above the watermark again.",
                              {"free_bytes", "watermark_bytes"}},
    [EVENT_DISK_ROOM_SMALL] = {"disk_room_small",
                               LOG_LEVEL_WARNING,
                               0,
                               "Reserve and watermark are less than a full checkpoint may need.",
                               {"room_bytes", "wanted_bytes"}},
    [EVENT_JOURNAL_READ_ONLY] = {"journal_read_only",
                                 LOG_LEVEL_ERROR,
                                 6,
                                 "The journal has no room for a segment: writes are refused.",
                                 {"segments", "bytes"}},
    [EVENT_JOURNAL_WRITABLE] = {"journal_writable",
                                LOG_LEVEL_INFO,
                                6,
                                "The journal has room again.",
                                {"segments", "bytes"}},
    [EVENT_DISK_STUCK] = {"disk_stuck",
                          LOG_LEVEL_ERROR,
                          6,
                          "A journal write does not return; nothing more is proposed.",
                          {"ms", NULL}},
    [EVENT_DISK_ANSWERS] =
        {"disk_answers", LOG_LEVEL_INFO, 6, "The journal's disk answers again.", {"ms", NULL}},
    [EVENT_CLOCK_BEHIND] = {"clock_behind",
                            LOG_LEVEL_WARNING,
                            6,
                            "Ledger time is ahead of this machine's clock: check the clock.",
                            {"behind_ns", NULL}},
    [EVENT_ENTRY_REFUSED] = {"entry_refused",
                             LOG_LEVEL_ERROR,
                             6,
                             "The journal refused an entry before it was written.",
                             {"bytes", "requests"}},
    [EVENT_NODE_DRAINING] = {"node_draining",
                             LOG_LEVEL_INFO,
                             0,
                             "The node refuses new requests and finishes those it has.",
                             {"requests_waiting", "entries_in_flight"}},
    [EVENT_NODE_STOPPED] = {"node_stopped",
                            LOG_LEVEL_INFO,
                            0,
                            "The last checkpoint and the seal are written.",
                            {"durable_index", "last_index"}},
    [EVENT_STOP_HUNG] =
        {"stop_hung", LOG_LEVEL_ERROR, 0, "A background job did not stop in time.", {"job", NULL}},
    [EVENT_CERTIFICATE_UNREADABLE] = {"certificate_unreadable",
                                      LOG_LEVEL_WARNING,
                                      6,
                                      "The file certificate is none of this cluster; the next one "
                                      "of a leader replaces it.",
                                      {"status", "bytes"}},
    [EVENT_CERTIFICATE_UNSIGNED] = {"certificate_unsigned",
                                    LOG_LEVEL_ERROR,
                                    6,
                                    "This node's key cannot sign certificates: nobody will believe "
                                    "them.",
                                    {"status", "index"}},
    [EVENT_CERTIFICATE_UNWRITTEN] = {"certificate_unwritten",
                                     LOG_LEVEL_WARNING,
                                     6,
                                     "The file certificate could not be replaced; after a loss an "
                                     "older one has to do.",
                                     {"status", "index"}},
    [EVENT_FLOORS_UNREADABLE] = {"floors_unreadable",
                                 LOG_LEVEL_WARNING,
                                 6,
                                 "The file floors is none of this cluster; it is written anew.",
                                 {"status", "bytes"}},
    [EVENT_FLOORS_UNWRITTEN] =
        {"floors_unwritten",
         LOG_LEVEL_WARNING,
         6,
         "The file floors could not be replaced; after a restart less is known "
         "of what the members had.",
         {"status", "members"}},
    [EVENT_FAIL_STOP] = {"fail_stop",
                         LOG_LEVEL_ERROR,
                         0,
                         "The node must not go on; the process exits.",
                         {NULL, "applied_index"}},
    [EVENT_LEADER_CHANGED] = {"leader_changed",
                              LOG_LEVEL_INFO,
                              60,
                              "Another node leads than before.",
                              {"leader", "new_term"}},
    [EVENT_LEADER_ELECTED] =
        {"leader_elected",
         LOG_LEVEL_INFO,
         60,
         "This node was elected; it serves once the barrier of its term is applied.",
         {"new_term", "last_index"}},
    [EVENT_LEADER_TRANSFER] = {"leader_transfer",
                               LOG_LEVEL_INFO,
                               60,
                               "This node hands leadership over.",
                               {"to", "of_term"}},
    [EVENT_LEADER_DISK_STUCK] = {"leader_disk_stuck",
                                 LOG_LEVEL_ERROR,
                                 6,
                                 "A journal write does not end: this node hands leadership over, "
                                 "and exits if nobody takes it.",
                                 {"ms", "of_term"}},
    [EVENT_LEADER_CLOCK_SKEW] =
        {"leader_clock_skew",
         LOG_LEVEL_ERROR,
         6,
         "This leader's clock is far from the others': it hands over; check the clock.",
         {"skew_ms", "of_term"}},
    [EVENT_DURABILITY_DEGRADED] = {"durability_degraded",
                                   LOG_LEVEL_WARNING,
                                   0,
                                   "The cluster does without a site: a majority is enough from "
                                   "here on; the text has who and why.",
                                   {"number", "index"}},
    [EVENT_DURABILITY_RETURNED] = {"durability_returned",
                                   LOG_LEVEL_INFO,
                                   0,
                                   "A commit implies both sites again; the text has who and why.",
                                   {"number", "index"}},
    [EVENT_DURABILITY_POLICY] =
        {"durability_policy",
         LOG_LEVEL_INFO,
         0,
         "Another policy about the sites is in force; the text has who and why.",
         {"number", "index"}},
    [EVENT_DURABILITY_RELEASED] =
        {"durability_released",
         LOG_LEVEL_WARNING,
         0,
         "A site was away too long: it has to be seeded anew; the text has who and why.",
         {"number", "index"}},
    [EVENT_DURABILITY_HELD_UP] =
        {"durability_held_up",
         LOG_LEVEL_ERROR,
         6,
         "A site is lost and the policy keeps the leader from degrading: writes stand still.",
         {"changes", "of_term"}},
    [EVENT_DURABILITY_CAPPED] =
        {"durability_capped",
         LOG_LEVEL_WARNING,
         6,
         "The site keeps pace, and the cap on changes an hour keeps the cluster degraded.",
         {"changes", "of_term"}},
    [EVENT_DEGRADED_BOUND] =
        {"degraded_bound",
         LOG_LEVEL_ERROR,
         6,
         "A bound of the policy on running with one site alone is reached; the policy goes on.",
         {"seconds", "ledger"}},
    [EVENT_DEGRADED_REFUSES] =
        {"degraded_refuses",
         LOG_LEVEL_ERROR,
         6,
         "A bound of the policy on running with one site alone is reached: no writes are taken.",
         {"seconds", "ledger"}},
    [EVENT_LEADER_LEAVES_DRAINED] = {"leader_leaves_drained",
                                     LOG_LEVEL_INFO,
                                     60,
                                     "This node leads at a drained site: it hands leadership over.",
                                     {"to", "of_term"}},
    [EVENT_LEADER_TO_PREFERRED] =
        {"leader_to_preferred",
         LOG_LEVEL_INFO,
         60,
         "The preferred site keeps pace: this node hands leadership over to it.",
         {"to", "of_term"}},
    [EVENT_PEER_BEHIND] =
        {"peer_behind",
         LOG_LEVEL_WARNING,
         60,
         "A member needs entries that only journal and store have: it is caught up by copies.",
         {"peer", "match_index"}},
    [EVENT_PEER_LOST_ENTRIES] = {"peer_lost_entries",
                                 LOG_LEVEL_ERROR,
                                 6,
                                 "A member lacks entries that it had acknowledged: it is not "
                                 "counted, and stops; rebuild it under a new id.",
                                 {"peer", "match_index"}},
    [EVENT_PEER_MALFORMED] =
        {"peer_malformed",
         LOG_LEVEL_WARNING,
         6,
         "A member's message makes no sense and was dropped: are the versions the same?",
         {"peer", "messages"}},
    [EVENT_CATCH_UP_STARTED] =
        {"catch_up_started",
         LOG_LEVEL_INFO,
         60,
         "This node lacks entries that its leader has in files only, and fetches them.",
         {"leader", "lacks_after_index"}},
    [EVENT_CATCH_UP_PROGRESS] =
        {"catch_up_progress",
         LOG_LEVEL_INFO,
         60,
         "What is fetched so far: bytes of the store, then entries; the text says which.",
         {"done", "of"}},
    [EVENT_CATCH_UP_DONE] = {"catch_up_done",
                             LOG_LEVEL_INFO,
                             60,
                             "What was fetched is complete and durable.",
                             {"to_index", "ms"}},
    [EVENT_CATCH_UP_FAILED] = {"catch_up_failed",
                               LOG_LEVEL_WARNING,
                               60,
                               "Fetching ended early; the leader offers again.",
                               {"leader", "status"}},
    [EVENT_CATCH_UP_SERVING] = {"catch_up_serving",
                                LOG_LEVEL_INFO,
                                60,
                                "A member that fell behind fetches what it lacks from this node.",
                                {"peer", "store_bytes"}},
    [EVENT_CATCH_UP_SERVED] = {"catch_up_served",
                               LOG_LEVEL_INFO,
                               60,
                               "That member has what it lacked.",
                               {"peer", "to_index"}},
    [EVENT_CATCH_UP_ENDED] = {"catch_up_ended",
                              LOG_LEVEL_WARNING,
                              60,
                              "Serving that member, or being read entries by that leader, ended "
                              "early; the text has the reason, and it goes on with the next offer.",
                              {"peer", "status"}},
    [EVENT_CATCH_UP_PACING] =
        {"catch_up_pacing",
         LOG_LEVEL_WARNING,
         60,
         "This leader admits less, because a member that catches up does not come nearer.",
         {"limit_bytes_per_second", "gap_bytes"}},
    [EVENT_CATCH_UP_PACING_ENDED] = {"catch_up_pacing_ended",
                                     LOG_LEVEL_INFO,
                                     60,
                                     "It admits everything again.",
                                     {"usual_bytes_per_second", NULL}},
    [EVENT_CATCH_UP_NOT_CLOSING] =
        {"catch_up_not_closing",
         LOG_LEVEL_ERROR,
         6,
         "A member does not catch up, though the least was admitted that may be; everything is "
         "again: look at that member, or at the load.",
         {"floor_bytes_per_second", "gap_bytes"}},
    [EVENT_NODE_REINSTALLING] =
        {"node_reinstalling",
         LOG_LEVEL_INFO,
         60,
         "This node changes over to the files it fetched; it serves again after a replay.",
         {"applied_index", NULL}},
    [EVENT_REINSTALL_FAILED] =
        {"reinstall_failed",
         LOG_LEVEL_ERROR,
         6,
         "The files that were fetched could not be put in place; the old ones stay.",
         {"status", NULL}},
    [EVENT_QUARANTINED] =
        {"quarantined",
         LOG_LEVEL_ERROR,
         0,
         "The state here differs from the leader's, or entries are gone that were "
         "acknowledged: the files are kept aside for inquiry, the process exits.",
         {"at_index", "status"}},
    [EVENT_SITE_OPERATION_BEGUN] = {"site_operation_begun",
                                    LOG_LEVEL_INFO,
                                    0,
                                    "An operator began something with a site: who, what, why.",
                                    {NULL, NULL}},
    [EVENT_SITE_OPERATION_ENDED] =
        {"site_operation_ended", LOG_LEVEL_INFO, 0, "It is done.", {NULL, NULL}},
    [EVENT_SITE_DRAINED] = {"site_drained",
                            LOG_LEVEL_WARNING,
                            0,
                            "An operator drained this node's site: it serves no clients.",
                            {NULL, NULL}},
    [EVENT_SITE_RESUMED] =
        {"site_resumed", LOG_LEVEL_INFO, 0, "This node's site serves clients again.", {NULL, NULL}},
    [EVENT_SITE_OPERATION_REFUSED] = {"site_operation_refused",
                                      LOG_LEVEL_WARNING,
                                      0,
                                      "It was not done; the reason. Nothing is held.",
                                      {NULL, NULL}},
    [EVENT_PEER_UP] =
        {"peer_up", LOG_LEVEL_INFO, 60, "Connected to a member, both ways.", {"peer", "lane"}},
    [EVENT_PEER_DOWN] =
        {"peer_down", LOG_LEVEL_WARNING, 60, "The connection to a member broke.", {"peer", "lane"}},
    [EVENT_PEER_REFUSED] = {"peer_refused",
                            LOG_LEVEL_WARNING,
                            60,
                            "Somebody was refused as a member; the text has the reason.",
                            {"peer", "refusal"}},
    [EVENT_PEER_REFUSES_US] = {"peer_refuses_us",
                               LOG_LEVEL_WARNING,
                               60,
                               "A member refuses this node; the text has its reason.",
                               {"peer", "refusal"}},
    [EVENT_PEER_UNREACHABLE] = {"peer_unreachable",
                                LOG_LEVEL_WARNING,
                                60,
                                "A member cannot be connected to; the text has the reason.",
                                {"peer", NULL}},
    [EVENT_PEER_ACCEPT_FAILED] =
        {"peer_accept_failed",
         LOG_LEVEL_ERROR,
         6,
         "A member's connection could not be accepted (descriptors, memory).",
         {NULL, NULL}},
    [EVENT_CONNECTION_REFUSED] = {"connection_refused",
                                  LOG_LEVEL_WARNING,
                                  60,
                                  "A connection was over a limit.",
                                  {NULL, NULL}},
    [EVENT_CONNECTION_FAILED] =
        {"connection_failed", LOG_LEVEL_INFO, 60, "An established connection broke.", {NULL, NULL}},
    [EVENT_CONNECTION_CUT] = {"connection_cut",
                              LOG_LEVEL_WARNING,
                              60,
                              "A client broke the rules of HTTP/2 or a limit and was disconnected.",
                              {NULL, NULL}},
    [EVENT_CONNECTION_SILENT] = {"connection_silent",
                                 LOG_LEVEL_INFO,
                                 60,
                                 "A client no longer answers and was disconnected.",
                                 {NULL, NULL}},
    [EVENT_IDENTITY_REFUSED] = {"identity_refused",
                                LOG_LEVEL_WARNING,
                                60,
                                "A certificate has no usable identity (exactly one URI SAN).",
                                {NULL, NULL}},
    [EVENT_HANDSHAKE_FAILED] = {"handshake_failed",
                                LOG_LEVEL_WARNING,
                                60,
                                "TLS refused a client; the text has the reason.",
                                {NULL, NULL}},
    [EVENT_HANDSHAKE_TIMEOUT] = {"handshake_timeout",
                                 LOG_LEVEL_WARNING,
                                 60,
                                 "A client did not finish its handshake in time.",
                                 {NULL, NULL}},
    [EVENT_HANDSHAKE_EVICTED] = {"handshake_evicted",
                                 LOG_LEVEL_WARNING,
                                 60,
                                 "Too many unfinished handshakes: the oldest had to go.",
                                 {NULL, NULL}},
    [EVENT_ACCEPT_FAILED] = {"accept_failed",
                             LOG_LEVEL_ERROR,
                             6,
                             "A connection could not be accepted (descriptors, memory).",
                             {NULL, NULL}},
    [EVENT_CERTIFICATE_EXPIRES] =
        {"certificate_expires",
         LOG_LEVEL_WARNING,
         0,
         "The node's certificate ends soon, or has ended: renew and reload.",
         {NULL, NULL}},
    [EVENT_CRL_EXPIRES] = {"crl_expires",
                           LOG_LEVEL_WARNING,
                           0,
                           "The revocation list ends soon, or has ended: renew and reload.",
                           {NULL, NULL}},
    [EVENT_EVENTS_SUPPRESSED] = {"events_suppressed",
                                 LOG_LEVEL_INFO,
                                 6,
                                 "The engine left out events; the text has their number.",
                                 {NULL, NULL}},
    [EVENT_NODE] = {"node", LOG_LEVEL_INFO, 60, "Reported by the node.", {"a", "b"}},
    [EVENT_GRPC] = {"grpc", LOG_LEVEL_WARNING, 60, "Reported by the gRPC engine.", {NULL, NULL}},
};

static const char *const level_names[LOG_LEVEL_COUNT] = {"debug", "info", "warning", "error"};

const char *event_name(enum event event)
{
    invariant(event < EVENT_COUNT);
    return event_table[event].name;
}

enum event event_by_name(const char *name, enum event otherwise)
{
    for (int event = 0; event < EVENT_COUNT; event++)
        if (strcmp(event_table[event].name, name) == 0)
            return (enum event)event;
    return otherwise;
}

enum log_level event_level(enum event event)
{
    invariant(event < EVENT_COUNT);
    return event_table[event].level;
}

const char *event_meaning(enum event event)
{
    invariant(event < EVENT_COUNT);
    return event_table[event].meaning;
}

const char *event_number_name(enum event event, unsigned number)
{
    invariant(event < EVENT_COUNT);
    invariant(number < EVENT_NUMBER_COUNT);
    return event_table[event].numbers[number];
}

uint32_t event_lines_per_minute(enum event event)
{
    invariant(event < EVENT_COUNT);
    return event_table[event].lines_per_minute;
}

const char *log_level_name(enum log_level level)
{
    invariant(level < LOG_LEVEL_COUNT);
    return level_names[level];
}

enum log_level log_level_by_name(const char *name)
{
    for (int level = 0; level < LOG_LEVEL_COUNT; level++)
        if (strcmp(level_names[level], name) == 0)
            return (enum log_level)level;
    return LOG_LEVEL_COUNT;
}
