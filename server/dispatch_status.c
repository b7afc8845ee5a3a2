/*
 * How what happened is told in gRPC's words: one table for operating errors, one for outcomes. The
 * rule behind both: a client must be able to tell three things apart without reading English. It
 * was refused for good; it was not accepted and may be sent again with the same identity; nobody
 * can say (tally-outcome=UNKNOWN), so repeat the same identity or ask GetRequest. Pure.
 */
#include "server/dispatch.h"

#include "core/result.h"

#define NOT_ACCEPTED "NOT_ACCEPTED"

struct refusal refusal_of_status(enum status status)
{
    switch (status) {
    case STATUS_BUSY:
        return (struct refusal){GRPC_RESOURCE_EXHAUSTED, NOT_ACCEPTED, 50,
                                "the node has as much to do as it may take; this attempt put "
                                "nothing into the log: send the same request again later"};
    case STATUS_NO_MEMORY:
        return (struct refusal){GRPC_RESOURCE_EXHAUSTED, NOT_ACCEPTED, 500,
                                "the node is out of memory; this attempt put nothing into the log: "
                                "send the same request again later"};
    case STATUS_READ_ONLY:
    case STATUS_DISK_FULL:
        return (struct refusal){GRPC_UNAVAILABLE, NOT_ACCEPTED, 1000,
                                "no writes are taken (disk space, or the policy's "
                                "bound on running with one site alone: see write_refusal in "
                                "tally status); this attempt put nothing into the log: send the "
                                "same request again later; "
                                "GetRequest tells of earlier attempts"};
    case STATUS_NOT_READY:
        return (struct refusal){GRPC_UNAVAILABLE, NOT_ACCEPTED, 200,
                                "the node does not serve yet, or nobody leads just now; this "
                                "attempt put nothing into the log: send the same request again"};
    case STATUS_DEGRADED:
        return (struct refusal){GRPC_UNAVAILABLE, NOT_ACCEPTED, 1000,
                                "the request asked for both sites, and the cluster runs without "
                                "one of them just now; this attempt put nothing into the log: send "
                                "the same request again later, or without tally-durability"};
    case STATUS_UNSUPPORTED:
        return (struct refusal){GRPC_FAILED_PRECONDITION, NULL, 0,
                                "the request asked for both sites, and this cluster has no two "
                                "sites and a witness: send it without tally-durability"};
    case STATUS_STOPPING:
        return (struct refusal){GRPC_UNAVAILABLE, NOT_ACCEPTED, 200,
                                "the node is stopping; this attempt put nothing into the log: send "
                                "the same request to another node, or again later"};
    case STATUS_UNKNOWN_OUTCOME:
        return (struct refusal){GRPC_UNAVAILABLE, "UNKNOWN", 200,
                                "the request was proposed, and the time was up or the node stopped "
                                "before its outcome was known: repeat the same request with the "
                                "same identity, or ask GetRequest"};
    case STATUS_DEADLINE:
        return (struct refusal){GRPC_DEADLINE_EXCEEDED, NULL, 0,
                                "the state that was asked for (min_index) was not reached in time"};
    case STATUS_VERSION:
        return (struct refusal){GRPC_UNIMPLEMENTED, NULL, 0,
                                "the stored answer has an encoding that this version of the node "
                                "cannot write: ask a newer node"};
    case STATUS_INVALID:
        return (struct refusal){GRPC_INTERNAL, "MALFORMED", 0,
                                "the node built a request that it refuses itself; please report "
                                "this"};
    default:
        return (struct refusal){GRPC_INTERNAL, NULL, 0, "the node failed; its log has the reason"};
    }
}

/* A change of members or leadership; the node's own words come instead of most of these. */
struct refusal refusal_of_change(enum status status)
{
    switch (status) {
    case STATUS_NOT_READY:
    case STATUS_STOPPING:
        return (struct refusal){GRPC_UNAVAILABLE, NOT_ACCEPTED, 0,
                                "this node does not lead: ask the leader (trailer tally-leader); "
                                "the same call goes on where an earlier one stopped"};
    case STATUS_BUSY:
        return (struct refusal){GRPC_RESOURCE_EXHAUSTED, NOT_ACCEPTED, 500,
                                "another change of members or leadership is under way: try again "
                                "when it is over (tally member list)"};
    case STATUS_INVALID:
    case STATUS_DENIED:
        return (struct refusal){GRPC_FAILED_PRECONDITION, NULL, 0,
                                "a rule about members stands in the way"};
    case STATUS_EXISTS:
        return (struct refusal){GRPC_ALREADY_EXISTS, NULL, 0,
                                "that node id was used before, by another incarnation: make the "
                                "new member with a number that was never used"};
    case STATUS_NOT_FOUND:
        return (struct refusal){GRPC_NOT_FOUND, NULL, 0, "no member has that node id"};
    case STATUS_DEADLINE:
        return (struct refusal){GRPC_DEADLINE_EXCEEDED, NULL, 0,
                                "the change is under way and not done yet: ListMembers shows how "
                                "far it is, the same call goes on"};
    case STATUS_UNAVAILABLE:
        return (struct refusal){GRPC_FAILED_PRECONDITION, NULL, 0,
                                "the other member cannot be reached"};
    case STATUS_UNKNOWN_OUTCOME:
        return (struct refusal){GRPC_UNAVAILABLE, "UNKNOWN", 0,
                                "leadership was lost meanwhile: ask again at the new leader; the "
                                "same call goes on where this one stopped"};
    default:
        return refusal_of_status(status);
    }
}

struct refusal refusal_of_outcome(uint8_t outcome)
{
    struct refusal refusal = {GRPC_INTERNAL, outcome_name(outcome), 0,
                              outcome_explanation(outcome)};
    switch ((enum outcome)outcome) {
    case OUTCOME_NONCE_REUSED:
    case OUTCOME_REQUEST_FENCED:
    case OUTCOME_BEYOND_WINDOW:
        refusal.code = GRPC_FAILED_PRECONDITION;
        break;
    case OUTCOME_ISSUED_TOO_FAR_AHEAD:
        refusal.code = GRPC_FAILED_PRECONDITION;
        refusal.retry_ms = 1000;
        break;
    case OUTCOME_WINDOW_FULL:
        refusal.code = GRPC_RESOURCE_EXHAUSTED;
        refusal.retry_ms = 1000;
        break;
    case OUTCOME_NOT_PERMITTED:
        refusal.code = GRPC_PERMISSION_DENIED;
        break;
    case OUTCOME_MALFORMED:
    case OUTCOME_EXECUTED:
    case OUTCOME_NOT_YET_SEEN:
    case OUTCOME_COUNT:
        break;
    }
    return refusal;
}
