/* A log is one number.
 *
 * Entry i takes BITS bits, the first entry the lowest ones: its kind (2 bits) and its term (the rest). No
 * entry is 0, so the length is seen from the number itself, "the first k entries" is a mask, copying a log
 * is an assignment, and "both logs have the same first k entries" is one comparison. What entries carry
 * does not matter here: two entries are the same when index, term and kind are.
 */
#define NORMAL  1
#define DEGRADE 2
#define RETURN  3

/* One term more than TERMS is needed: the recovery schedule elects a leader of its own. */
#if TERMS <= 2
#define BITS      4
#define TERM_MASK 3
#else
#define BITS      5
#define TERM_MASK 7
#endif

#define ENTRY(index, term, kind) (((term) << 2 | (kind)) << (BITS * ((index) - 1)))
#define KIND(l, index)           (((l) >> (BITS * ((index) - 1))) & 3)
#define TERM_AT(l, index)        (((l) >> (BITS * ((index) - 1) + 2)) & TERM_MASK)
#define PREFIX(l, k)             ((l) & ((1 << (BITS * (k))) - 1))
#define SAME(l, m, k)            (PREFIX((l) ^ (m), k) == 0)

#if ENTRIES > 4 || TERMS > 6
#error "a log of 30 bits holds ENTRIES <= 4 and TERMS <= 6"
#endif

/* At most six entries: ENTRIES <= 4, and the recovery schedule adds two. */
#define LENGTH(l)                                                                                          \
    (((l) != 0) + (((l) >> BITS) != 0) + (((l) >> (2 * BITS)) != 0) + (((l) >> (3 * BITS)) != 0) +         \
     (((l) >> (4 * BITS)) != 0) + (((l) >> (5 * BITS)) != 0))

/* Raft's order of logs: last term first, then length. */
#define RANK(l) ((l) == 0 -> 0 : TERM_AT(l, LENGTH(l)) * 8 + LENGTH(l))
