/*
 * What every subcommand of `tally` shares: where the server is, how it ends, how it speaks.
 *
 * Exit codes are part of the interface (docs/cli.md): a script decides by them whether to go on,
 * to repeat or to wake somebody up.
 */
#ifndef TALLY_CLIENT_CLI_CLI_H
#define TALLY_CLIENT_CLI_CLI_H

#include "client/tally.h"

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum exit_code {
    EXIT_OK = 0,
    EXIT_SOME_REFUSED = 1, /* the request was executed, some events of it were refused; or the thing
                              asked for does not exist; or debits and credits do not balance */
    EXIT_USAGE = 2,        /* wrong arguments or input; nothing was sent */
    EXIT_REFUSED = 3,      /* the whole request was refused; nothing changed */
    EXIT_UNREACHABLE = 4,  /* nothing was executed (not sent, or refused for now), or a question
                              was not answered: try again */
    EXIT_UNKNOWN = 5,      /* may or may not have been executed: repeat with the same identity */
    EXIT_DAMAGED = 6,      /* journal, store or input file is damaged */
    EXIT_LOCAL = 7,        /* this machine: a file, memory, output that cannot be written */
};

struct cli {
    /* From flags, profile file or environment; NULL or 0 = not given. */
    const char *server, *ca, *certificate, *key, *profile;
    char *owned[4]; /* those of them that came from the profile */
    bool json;
    bool resolved; /* by cli_resolve() */
    uint32_t deadline_ms;
    uint32_t max_age_ms; /* questions about the ledger: how old an answer may be; 0 = not at all */
    struct tally_client *client; /* after cli_connect() */
};

struct command {
    const char *name;    /* "ledger create" */
    const char *summary; /* one line for the table of commands */
    /* argv[0] is "tally ledger create". Returns an exit code. */
    int (*run)(struct cli *cli, int argc, char **argv);
};

/* Argp child with --server, --ca, --cert, --key, --profile, --json, --deadline. Its input is the
 * struct cli; CLI_CHILDREN is what a command puts into its own argp. */
extern const struct argp cli_global_argp;
extern const struct argp_child cli_children[];
/* Parses with `argp`, whose parser gets `input` and whose child gets `cli` (ARGP_KEY_INIT of the
 * command's parser must set state->child_inputs[0] = its cli). Wrong usage exits with EXIT_USAGE,
 * as argp does. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Fills what flags left open from the profile file, then from the environment; once. EXIT_USAGE or
 * EXIT_LOCAL after a message. */
int cli_resolve(struct cli *cli);
/* Frees what cli_resolve() and cli_connect() made. */
void cli_deinit(struct cli *cli);
/* cli_resolve(), and says which of server, ca, cert and key is missing: EXIT_USAGE. */
int cli_resolve_all(struct cli *cli);
/* cli_resolve_all(), then a client. */
int cli_connect(struct cli *cli, uint32_t in_flight_max);

/* A call with the deadline given on the command line and a new identity; or the one given as text
 * (NULL = new). Returns an exit code. */
int cli_call(const struct cli *cli, const char *identity, struct tally_call *out_call);

/* Exit code of a call that ended so; `retryable` as in struct tally_error: a refusal that may pass
 * later (read-only, busy, starting) is nothing to correct but something to try again. */
int cli_exit_code(enum tally_status status, bool retryable);
/* Says on stderr how the call failed and what to do next, with --json as a document on stdout too,
 * and returns the exit code. For calls that change something and ended unknown it names the
 * identity. */
int cli_fail(const struct cli *cli, const struct tally_call *call, bool changes);
/* The same with another exit code: what the call did not do, an earlier one may have. */
int cli_fail_with(const struct cli *cli, const struct tally_call *call, bool changes, int code);
/* Reports what became of the one event of a call that was executed: EXIT_OK when it is new or was
 * there already, else EXIT_SOME_REFUSED. `noun` "account", `name` its id. */
int cli_result(const struct cli *cli, const struct tally_call *call, uint8_t result,
               const char *noun, const char *name);
/* "tally: message" on stderr; returns `code`. */
int cli_error(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An argp parser for commands without arguments of their own; its input is the struct cli. */
error_t cli_parse_none(int key, char *argument, struct argp_state *state);
/* Whole number in [low, high], or argp_error() naming the option. */
uint64_t cli_number(struct argp_state *state, const char *option, const char *text, uint64_t low,
                    uint64_t high);
/* Id as in tally_id_parse(), or argp_error(). */
struct tally_id cli_id(struct argp_state *state, const char *option, const char *text);

/* The ledger `id`, asked from the server; EXIT_OK, or after a message EXIT_SOME_REFUSED (it does
 * not exist) or the code of the failed call. */
int cli_ledger(struct cli *cli, uint32_t id, struct tally_ledger *out);
/* All ledgers, malloc'ed. */
int cli_ledgers(struct cli *cli, struct tally_ledger **out_ledgers, size_t *out_count);
/* NULL when there is none with that id. */
const struct tally_ledger *cli_find_ledger(const struct tally_ledger *ledgers, size_t count,
                                           uint32_t id);

/* Asks the cluster to replace a member, and reports; used by `member replace` and `node repair`. */
struct member;
int member_replace(struct cli *cli, uint64_t old_id, const struct member *member, bool force);

/* ---- the commands, one file per noun ---- */
int observe_command(struct cli *cli, int argc, char **argv);
int pki_init_command(struct cli *cli, int argc, char **argv);
int pki_issue_command(struct cli *cli, int argc, char **argv);
int pki_show_command(struct cli *cli, int argc, char **argv);
int node_init_command(struct cli *cli, int argc, char **argv);
int node_repair_command(struct cli *cli, int argc, char **argv);
int ledger_create_command(struct cli *cli, int argc, char **argv);
int ledger_list_command(struct cli *cli, int argc, char **argv);
int account_create_command(struct cli *cli, int argc, char **argv);
int account_show_command(struct cli *cli, int argc, char **argv);
int account_list_command(struct cli *cli, int argc, char **argv);
int transfer_create_command(struct cli *cli, int argc, char **argv);
int transfer_show_command(struct cli *cli, int argc, char **argv);
int transfer_list_command(struct cli *cli, int argc, char **argv);
int transfer_export_command(struct cli *cli, int argc, char **argv);
int transfer_import_command(struct cli *cli, int argc, char **argv);
int request_show_command(struct cli *cli, int argc, char **argv);
int request_fence_command(struct cli *cli, int argc, char **argv);
int status_command(struct cli *cli, int argc, char **argv);
int trial_balance_command(struct cli *cli, int argc, char **argv);
int principal_list_command(struct cli *cli, int argc, char **argv);
int principal_set_command(struct cli *cli, int argc, char **argv);
int member_list_command(struct cli *cli, int argc, char **argv);
int member_add_command(struct cli *cli, int argc, char **argv);
int member_replace_command(struct cli *cli, int argc, char **argv);
int member_remove_command(struct cli *cli, int argc, char **argv);
int leader_transfer_command(struct cli *cli, int argc, char **argv);
int site_switchover_command(struct cli *cli, int argc, char **argv);
int site_drain_command(struct cli *cli, int argc, char **argv);
int site_resume_command(struct cli *cli, int argc, char **argv);
int durability_show_command(struct cli *cli, int argc, char **argv);
int durability_policy_command(struct cli *cli, int argc, char **argv);
int durability_degrade_command(struct cli *cli, int argc, char **argv);
int durability_return_command(struct cli *cli, int argc, char **argv);
int journal_verify_command(struct cli *cli, int argc, char **argv);
int store_verify_command(struct cli *cli, int argc, char **argv);
int request_in_doubt_command(struct cli *cli, int argc, char **argv);
int rpo_command(struct cli *cli, int argc, char **argv);
int certificate_show_command(struct cli *cli, int argc, char **argv);
int certificate_verify_command(struct cli *cli, int argc, char **argv);

#endif
