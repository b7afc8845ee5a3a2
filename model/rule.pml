/* The durability rule, as the leader of one term applies it. The numbers are those of the rule's lines.
 *
 * Everything here reads the *view*: what the leader holds in memory, copied there by view(). It changes
 * nothing, so that the same lines serve the leader of any term, the recovery schedule and the observer.
 *
 * PLANT_... are errors that somebody might make in good faith. Each is switched on alone, and the search has
 * to find what it breaks; README.md says which claim falls.
 */
hidden int view_log;              /* the leader's log, uncommitted and not yet synced entries included */
hidden byte view_length;
hidden byte view_term;
hidden byte view_leader;
hidden byte view_commit;
hidden byte view_verified[NODES]; /* 2  verified in this term and answered; the leader's own is what it synced */

#ifdef EPOCH
hidden byte view_epoch;           /* 1: all voters are at one site, and the rule is not in force */
#endif

hidden byte mode, mode_since;     /* results of the functions below */
hidden byte both, gate, limit, raw_count, clamped_count;
hidden byte allowed;
hidden byte i, x, best_a, best_b; /* scratch: set before each use */

#define SYNC     0
#define DEGRADED 1

/* 1  The mode of an index is the kind of the last degrade or return at or below it; none is SYNC. */
inline find_mode(a_log, upto)
{
    mode = SYNC; mode_since = 0; i = upto;
    do
    :: i > 0 && KIND(a_log, i) == DEGRADE -> mode = DEGRADED; mode_since = i; break
    :: i > 0 && KIND(a_log, i) == RETURN -> mode_since = i; break
    :: i > 0 && KIND(a_log, i) == NORMAL -> i--
    :: else -> break
    od
}

/* 3  The gate: what a data node of each site has verified, or the commit index. */
inline find_gate()
{
    best_a = 0; best_b = 0; i = 0;
    do
    :: i < DATA_NODES ->
        x = view_verified[i];
#ifdef PLANT_UNSYNCED_LEADER      /* the leader's own copy counts before its disk has it */
        if :: view_leader == i -> x = view_length :: else fi;
#endif
        if
        :: PLACE(i) == SITE_A && x > best_a -> best_a = x
        :: PLACE(i) == SITE_B && x > best_b -> best_b = x
        :: else
        fi;
        i++
    :: else -> break
    od;
    both = (best_a < best_b -> best_a : best_b);
    gate = (both > view_commit -> both : view_commit);
    both = (both < view_commit -> both : view_commit); /* 9  what the leader claims for both sites */
#ifdef PLANT_GATE_INHERITED       /* the gate starts at the inherited length: "that was replicated before" */
    x = view_length;
    do :: x > 0 && TERM_AT(view_log, x) == view_term -> x-- :: else -> break od;
    if :: gate < x -> gate = x :: else fi
#endif
}

/* 4  The witness is sent entries up to the largest x with x <= gate or mode(x) = DEGRADED. */
inline find_witness_limit()
{
    find_gate();
    limit = view_length;
#if defined(PLANT_MODE_OF_COMMITTED) || defined(PLANT_RETURN_ONCE_COMMITTED)
    /* the committed prefix decides which mode is in force */
    find_mode(view_log, view_commit);
#ifdef PLANT_RETURN_ONCE_COMMITTED /* ... for the return only: until it is committed nothing has changed */
    if :: mode == SYNC -> find_mode(view_log, view_length) :: else fi;
#endif
    if :: mode == SYNC -> limit = gate :: else fi;
#else
    do
    :: limit > gate ->
        find_mode(view_log, limit);
        if :: mode == DEGRADED -> break :: else -> limit-- fi
    :: else -> break
    od;
#endif
#ifdef PLANT_RETURN_UNGATED       /* the return entry itself still goes to the witness ungated */
    find_mode(view_log, view_length);
    if :: mode == SYNC && mode_since > limit -> limit = mode_since :: else fi;
#endif
#ifdef PLANT_NO_GATE
    limit = view_length;
#endif
    if :: !IS_DATA(view_leader) -> limit = view_length :: else fi /* it has its own log already */
}

/* 5  clamped: a majority verified c, the witness up to the gate only; raw: the witness in full.
 * 6  Commit to c only if c is of the leader's own term, and clamped, or raw and mode(c) is DEGRADED. */
inline find_allowed(c)
{
    find_gate();
    raw_count = 0; clamped_count = 0; i = 0;
    do
    :: i < NODES ->
        x = view_verified[i];
#ifdef PLANT_UNSYNCED_LEADER
        if :: view_leader == i -> x = view_length :: else fi;
#endif
        if
        :: x >= (c) ->
            raw_count++;
            if :: IS_DATA(i) || (c) <= gate -> clamped_count++ :: else fi
        :: else
        fi;
        i++
    :: else -> break
    od;
    find_mode(view_log, c);
    allowed = clamped_count >= MAJORITY || (raw_count >= MAJORITY && mode == DEGRADED);
#if defined(PLANT_NO_GATE) || defined(PLANT_NO_CLAMP)
    allowed = raw_count >= MAJORITY; /* whatever the witness verified counts, under SYNC too */
#endif
#ifdef PLANT_DEGRADE_AT_ONCE      /* in force for everything once it stands in the leader's log */
    find_mode(view_log, view_length);
    allowed = clamped_count >= MAJORITY || (raw_count >= MAJORITY && mode == DEGRADED);
#endif
#ifdef PLANT_DEGRADE_BY_WITNESS   /* in force for everything once the witness, alone, has verified it */
    find_mode(view_log, view_length);
    allowed = clamped_count >= MAJORITY ||
              (raw_count >= MAJORITY && mode == DEGRADED && view_verified[DATA_NODES] >= mode_since);
#endif
#ifdef PLANT_RETURN_UNGATED       /* ... and is committed by the witness's full answer */
    allowed = clamped_count >= MAJORITY ||
              (raw_count >= MAJORITY && (mode == DEGRADED || mode_since == (c)));
#endif
#ifdef PLANT_MODE_OF_COMMITTED
    find_mode(view_log, view_commit);
    allowed = clamped_count >= MAJORITY || (raw_count >= MAJORITY && mode == DEGRADED);
#endif
#ifdef PLANT_RETURN_ONCE_COMMITTED
    if
    :: !allowed ->
        find_mode(view_log, view_commit);
        allowed = raw_count >= MAJORITY && mode == DEGRADED
    :: else
    fi;
#endif
#ifdef EPOCH
    if :: view_epoch == 1 -> allowed = raw_count >= survivors / 2 + 1 :: else fi;
#endif
#ifdef PLANT_WITNESS_APPENDS      /* a leading witness counts itself like any leader */
    allowed = allowed || (view_leader == DATA_NODES && raw_count >= MAJORITY);
#endif
#ifndef PLANT_OLD_TERM            /* Raft's own rule (its figure 8), kept */
    allowed = allowed && TERM_AT(view_log, c) == view_term
#endif
}

/* 7  Degrade at any time; return only from DEGRADED, and when each site's best has reached commit. In the
 * variant RETURN_LAGS the site need not have reached it (the code compares with what was committed a moment
 * ago): commits may then wait for the site, and every other claim has to hold all the same. */
inline find_may_return()
{
    find_gate();
    find_mode(view_log, view_length);
    allowed = mode == DEGRADED && best_a >= view_commit && best_b >= view_commit;
#if defined(PLANT_RETURN_EARLY) || defined(RETURN_LAGS)
    allowed = mode == DEGRADED
#endif
}

/* 8  The witness as leader appends nothing and commits nothing. */
#ifdef PLANT_WITNESS_APPENDS
#define MAY_APPEND(n) 1
#else
#define MAY_APPEND(n) IS_DATA(n)
#endif
#ifdef PLANT_WITNESS_NEVER_LEADS
#define MAY_CAMPAIGN(n) IS_DATA(n)
#else
#define MAY_CAMPAIGN(n) 1
#endif
