/*
 * Operating errors: what can go wrong around the ledger (never inside it: business outcomes are
 * `enum result` and `enum outcome`, replicated data). A status is returned, handled, or passed up
 * unchanged; codes of libraries become a status in the file that made the call.
 */
#ifndef TALLY_CORE_STATUS_H
#define TALLY_CORE_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_NO_MEMORY,       /* allocation refused; nothing changed */
    STATUS_IO,              /* read, write or sync failed; for journal and store: fail-stop */
    STATUS_DISK_FULL,       /* ENOSPC or below the reserve */
    STATUS_CORRUPT,         /* checksum, chain or structure wrong; repair from a peer or backup */
    STATUS_NOT_FOUND,       /* file, record or range does not exist */
    STATUS_EXISTS,          /* would overwrite something */
    STATUS_INVALID,         /* argument, flag, file or message refused; detail says what */
    STATUS_PERMISSION,      /* the operating system refused */
    STATUS_LOCKED,          /* another process uses the directory */
    STATUS_VERSION,         /* format or command version unknown to this build: upgrade */
    STATUS_STORE_AHEAD,     /* store is newer than the journal: wrong or rolled-back journal */
    STATUS_WRONG_CLUSTER,   /* files belong to another cluster or node */
    STATUS_BUSY,            /* bounded resource is full; retry later, nothing was done */
    STATUS_READ_ONLY,       /* node refuses writes (disk reserve, operator); reads go on */
    STATUS_NOT_READY,       /* replaying or not yet leading; retry */
    STATUS_STOPPING,        /* draining; retry at another node */
    STATUS_UNKNOWN_OUTCOME, /* accepted, then the answer was lost: may or may not be committed */
    STATUS_DEADLINE,        /* the caller's time is up; outcome unknown unless stated */
    STATUS_UNAVAILABLE,     /* no connection, or it ended before the request was sent */
    STATUS_DENIED,          /* authenticated, and not allowed */
    STATUS_UNSUPPORTED,     /* the platform or library lacks what is needed */
    STATUS_DEGRADED, /* both sites were asked for, and one is missing now; nothing was done */
    STATUS_COUNT
};

/* Short lower-case words, e.g. "disk full". Static; never NULL, also for unknown values. */
const char *status_text(enum status status);

#endif
