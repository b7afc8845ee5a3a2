/* Getting up again.
 *
 * 1. attempt_recovery(): from *every* state reached, with site A, site B, the witness or nobody lost for
 *    good, one fixed schedule has to commit everything, and with nobody lost to return to SYNC. Safety alone
 *    would be satisfied by a cluster that does nothing.
 * 2. recover(s), in the variant EPOCH: the operator's command after a double loss. Site s alone goes on under
 *    a new cluster epoch; the others are declared lost, which may be false, and live on in the old epoch.
 */
hidden int final_log[NODES];
hidden byte lost, turn, live;

#define NOBODY_LOST 3
#define LIVE(node)  (PLACE(node) != lost)

/* Everything that may be sent arrives and is answered, then the leader commits what it may. */
inline run_round()
{
    n = 0;
    do
    :: n < NODES ->
        if
        :: LIVE(n) && IS_DATA(n) -> final_log[n] = view_log; view_verified[n] = view_length
        :: LIVE(n) && !IS_DATA(n) ->
            find_witness_limit();
            y = view_length;
            do :: y > limit && !SAME(final_log[n], view_log, y) -> y-- :: else -> break od;
            if :: !SAME(final_log[n], view_log, y) -> final_log[n] = PREFIX(view_log, y) :: else fi;
            view_verified[n] = y
        :: else
        fi;
        n++
    :: else -> break
    od;
#ifdef LIBRAFT
    find_libraft_commit(view_length);
    if :: c > 0 -> view_commit = c :: else fi
#else
    c = view_length;
    do
    :: c > view_commit ->
        find_allowed(c);
        if :: allowed -> view_commit = c :: else -> c-- fi
    :: else -> break
    od
#endif
}

#define APPEND_TO_VIEW(a_kind)                                                                             \
    view_log = view_log | ENTRY(view_length + 1, TERMS + 1, a_kind); view_length++

inline run_rounds()
{
    turn = 0;
    do :: turn < 3 -> run_round(); turn++ :: else -> break od
}

inline attempt_recovery()
{
    lost = SITE_A;
    do
    :: lost <= NOBODY_LOST ->
        live = 0; n = 0;
        do :: n < NODES -> final_log[n] = node_log[n]; if :: LIVE(n) -> live++ :: else fi; n++ :: else -> break od;
        if
        :: live >= MAJORITY ->
            find_best(LIVE(n) && MAY_CAMPAIGN(n));
#if WITNESSES == 1
            if
            :: best == DATA_NODES ->        /* the last resort: it gives its log to the data nodes, and hands over */
                n = 0;
                do :: n < DATA_NODES -> if :: LIVE(n) -> final_log[n] = best_log :: else fi; n++ :: else -> break od;
                best = (lost == SITE_A -> DATA_A : 0)
            :: else
            fi;
#endif
            v = 0; n = 0;
            do
            :: n < NODES -> if :: LIVE(n) && RANK(best_log) >= RANK(node_log[n]) -> v++ :: else fi; n++
            :: else -> break
            od;
            leader_can_be_elected = v >= MAJORITY; assert(leader_can_be_elected);

            view_log = best_log; view_length = LENGTH(best_log); view_term = TERMS + 1;
            view_leader = best; view_commit = 0;
#ifdef LIBRAFT
            view_told = 0;
#endif
            n = 0;
            do :: n < NODES -> view_verified[n] = 0; n++ :: else -> break od;
            if
            :: lost <= SITE_B -> APPEND_TO_VIEW(DEGRADE)
            :: else -> APPEND_TO_VIEW(NORMAL)
            fi;
            run_rounds();
            everything_commits_again = view_commit == view_length; assert(everything_commits_again);
            find_mode(view_log, view_length);
            if
            :: lost == NOBODY_LOST && mode == DEGRADED ->
                APPEND_TO_VIEW(RETURN);
                run_rounds();
                sync_comes_back = view_commit == view_length; assert(sync_comes_back)
            :: else
            fi
        :: else
        fi;
        lost++
    :: else -> break
    od
}

#ifdef EPOCH
inline recover(s)
{
    find_best(PLACE(n) == s);
#ifdef PLANT_FIRST_SURVIVOR       /* the log of whichever data node is read first, instead of the greatest */
    best_log = node_log[(s == SITE_A -> 0 : DATA_A)];
#endif
#ifdef PLANT_TAIL_DROPPED         /* the tail that nobody told the survivors to be committed is cut off */
    if :: best_log != 0 -> best_log = PREFIX(best_log, LENGTH(best_log) - 1) :: else fi;
#endif
    printf("@ the operator declares site:%d the only survivor: epoch 1 begins with %d entries\n", s, LENGTH(best_log));
    recovered = true;
    find_mode(acknowledged, LENGTH(acknowledged));
    x = LENGTH(acknowledged);
    if
    :: mode == SYNC -> recovery_keeps_everything = SAME(best_log, acknowledged, x); assert(recovery_keeps_everything)
    :: else ->                    /* the loss is real, and the verdict was not PROVEN_ZERO */
        do :: x > 0 && !SAME(best_log, acknowledged, x) -> x-- :: else -> break od;
        acknowledged = PREFIX(acknowledged, x)
    fi;
    survivors = 0; n = 0;
    do
    :: n < NODES ->
        if
        :: PLACE(n) == s ->
            survivors++;
            node_log[n] = best_log;
            node_epoch[n] = 1;
            y = node_term[n];
            if :: reign[y].state == LEADING && reign[y].leader == n -> depose(y) :: else fi
        :: else
        fi;
        n++
    :: else -> break
    od
}

/* What epoch 1 acknowledged, or took over, stays at its voters, whatever the old epoch's members do. */
inline observe_new_epoch()
{
    find_best(node_epoch[n] == 1);
    new_epoch_keeps_everything = SAME(best_log, acknowledged, LENGTH(acknowledged));
    assert(new_epoch_keeps_everything)
}
#endif
