"""The bugs, one row each. How to add one: README.md.

A row's first finder is the one that a slice runs (scripts/planted.sh --ci). Budgets are in seeds,
and wide: a search ends with its find, so a wide one costs nothing and no fresh seed misses by luck.
"""
from .bug import Bug, FaultLoop, Nemesis, Simulator, Tests

GUARD = "replication/test_raft_guard"
ORACLE = Tests("core/test_core_differential")

GUARD_OFF = (
    Bug("guard-s1", "a follower acknowledges what an older leader left in its log",
        (Tests(GUARD, "raft_guard/s1_*", schedule=True),), guard_off=("S1",)),
    Bug("guard-s2", "a follower takes the leader's commit index for all of its own log",
        (Tests(GUARD, "raft_guard/s2_*", schedule=True),), guard_off=("S2",)),
    Bug("guard-s3", "entries from below the snapshot are appended at the end of the log",
        (Tests(GUARD, "raft_guard/s3_*", schedule=True),), guard_off=("S3",)),
    Bug("guard-s5", "a leader asks its majority for its own last entry only: no commit under load",
        (Tests(GUARD, "raft_guard/s5_*", schedule=True),), guard_off=("S5",)),
    Bug("guard-s8", "a leader whose disk refused an entry goes on and gives the index to another",
        (Tests(GUARD, "raft_guard/s8_*", schedule=True),
         Simulator()), guard_off=("S8",)),
)

# What the simulator plants at its seams; who has to see it stands beside it (chaos/sim/planted.c).
RULE = (
    Bug("gate-open", "under SYNC the witness is sent what a site lacks",
        (Simulator(row="gate-open"),)),
    Bug("clamp-off", "under SYNC the witness counts in full",
        (Simulator(row="clamp-off"),), rare=True),
    Bug("gate-and-clamp-off", "the two together",
        (Simulator(row="gate-and-clamp-off"),)),
    Bug("gate-inherited", "the gate starts at what a leader inherited, verified or not",
        (Simulator(row="gate-inherited"),)),
    Bug("unsynced-copy-counts", "a leader's own copy counts before its disk has it",
        (Simulator(row="unsynced-copy-counts"),)),
    Bug("committed-mode", "the committed prefix decides the mode, not the log",
        (Simulator(row="committed-mode"),)),
    Bug("degrade-early", "degraded before the quorum, so the witness, holds the degrade entry",
        (Simulator(row="degrade-early"),), rare=True),
    Bug("witness-past-return", "a witness counts past the return that ends a degraded run",
        (Tests(GUARD, "raft_guard/site_witness_counts_to_the_end_of_a_degraded_run", schedule=True),),
        guard_off=("RUN",)),
    Bug("followers-own-mode", "a follower takes its own commit for what both sites have",
        (Simulator(row="followers-own-mode", seeds=2000),), rare=True),
    Bug("early-return", "back to SYNC before the other site has caught up",
        (Simulator(row="early-return"),), rare=True),
    Bug("certificate-too-high", "a certificate names the entry behind the last committed one",
        (Simulator(row="certificate-too-high"),)),
)

SEAMS = (
    Bug("sync-off", "syncs do nothing and say OK",
        (Simulator(row="sync-off"),
         FaultLoop()), fault="sync_off"),
    Bug("reply-before-commit", "a leader takes what it alone has synced for committed",
        (Simulator(row="reply-before-commit"),
         Simulator(),
         FaultLoop()), fault="reply_before_commit"),
    Bug("request-window-off", "no request is remembered, so a repeat is executed again",
        (Simulator(row="request-window-off"),
         Simulator(("identity", "replicas")),
         FaultLoop()), fault="request_window_off"),
)

DISKS = (
    Bug("ack-before-sync", "the journal tells of an entry before the sync that makes it durable",
        (Simulator(("node", "both sites", "lost", "certificate", "leaders")),),
        fault="ack_before_sync"),
    Bug("vote-not-synced", "a vote is answered and not synced: after a power loss it is given again",
        (Simulator(("leaders",), seeds=4000),), fault="vote_not_synced", rare=True),
    Bug("synced-tail-cut", "recovery cuts the last entry as torn, though it was synced and told of",
        (Simulator(("node", "certificate", "both sites", "lost")),), fault="synced_tail_cut"),
    Bug("wiped-node-keeps-id", "a node that lost its disk comes back as its old self and votes",
        (Simulator(("node", "both sites", "lost", "certificate", "leaders")),),
        fault="wiped_node_keeps_id"),
    Bug("witness-pruned-early", "the witness keeps nothing of what one site alone has",
        (Simulator(("witness",)),), fault="witness_pruned_early"),
)

CORE = (
    Bug("read-without-round", "a leader answers reads by itself: deposed, it answers from the past",
        (Simulator(("reads", "certificate")),), fault="read_without_round"),
    Bug("window-lost-at-snapshot", "a node that starts from a checkpoint has forgotten all requests",
        (Simulator(("identity", "replicas")), ORACLE), fault="window_lost_at_snapshot"),
    Bug("window-without-principal", "two clients who use the same nonce get each other's answer",
        (Simulator(("identity",)), ORACLE), fault="window_without_principal"),
    Bug("window-by-commit-time", "requests are forgotten so long after their commit: issued ahead of "
        "the clock, a repeat is executed again",
        (ORACLE,), fault="window_by_commit_time"),
    Bug("frozen-cleared-early", "between freeze and checkpoint what was frozen cannot be found",
        (Simulator(("identity", "replicas")), ORACLE), fault="frozen_cleared_early"),
    Bug("local-clock-in-core", "stamps have something of the clock of the machine that applies",
        (Simulator(("replicas",)), ORACLE), fault="local_clock_in_core"),
    Bug("id-free-after-epoch", "a transfer's id counts as new again when its epoch was checkpointed",
        (Simulator(("ledger", "replicas")), ORACLE), fault="id_free_after_epoch"),
    Bug("forward-new-identity", "a forwarded request is sent again under another nonce",
        (Simulator(("identity", "ledger", "replicas")),), fault="forward_new_identity"),
)

BUGS = GUARD_OFF + RULE + SEAMS + DISKS + CORE
