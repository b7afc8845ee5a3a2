/*
 * Counters of a coverage build that would otherwise be lost. gcc writes them in exit(); but nodes
 * are killed (that is what the tests are about), fail-stop is abort(), and some processes leave by
 * _exit(). scripts/coverage.sh links this into every program of its build, no other build knows it:
 *
 *   - _exit() and a SIGABRT that nobody handles write the counters first;
 *   - a node writes them also while it runs, every PERIOD_MS, into a directory of its own below
 *     $TALLY_COVERAGE_DIR. Of its own, because a kill in the middle of writing leaves a torn file:
 *     it spoils what this process counted in one source file, and not the sum of all others.
 *
 * What is still missing after a kill: the last PERIOD_MS of the process (scripts/coverage.sh counts
 * the torn files, too). Counters are set back when they are written; what another thread counts in
 * between is lost, so figures are a lower bound.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FIRST_MS  150 /* a node that is killed while it starts is what many tests want */
#define PERIOD_MS 700

void __gcov_dump(void);
void __gcov_reset(void);
_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);

_Noreturn void __wrap__exit(int code)
{
    __gcov_dump();
    __real__exit(code);
}

static void on_abort(int number)
{
    /* Not what a handler may do. The process is about to die, and only in this build. */
    __gcov_dump();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void *write_work(void *unused)
{
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL); /* the program's own threads take its signals */
    for (long wait_ms = FIRST_MS;; wait_ms = PERIOD_MS) {
        const struct timespec pause = {.tv_sec = wait_ms / 1000,
                                       .tv_nsec = wait_ms % 1000 * 1000000};
        (void)nanosleep(&pause, NULL);
        __gcov_dump();
        __gcov_reset();
    }
    return NULL;
}

__attribute__((constructor)) static void flush_start(void)
{
    const char *directory = getenv("TALLY_COVERAGE_DIR");
    if (!directory)
        return; /* an ordinary run of the build: counters are written in exit() */
    struct sigaction old;
    if (sigaction(SIGABRT, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        (void)signal(SIGABRT, on_abort);
    if (strcmp(program_invocation_short_name, "tallyd") != 0)
        return;
    char own[4096];
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* process numbers come again */
    snprintf(own, sizeof own, "%s/%ld-%lld%03ld", directory, (long)getpid(), (long long)now.tv_sec,
             now.tv_nsec / 1000000);
    pthread_t thread;
    if ((mkdir(own, 0777) != 0 && errno != EEXIST) || setenv("GCOV_PREFIX", own, 1) != 0 ||
        pthread_create(&thread, NULL, write_work, NULL) != 0) {
        fprintf(stderr, "coverage: no counters of this process before its end: %s\n",
                strerror(errno));
        return;
    }
    (void)pthread_detach(thread);
}
