/*
 * `tally`: one table of commands. Everything a command needs comes from its own arguments; options
 * that all share may stand before or behind the command's name.
 */
#include "client/cli/cli.h"
#include "client/cli/output.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define VERSION "tally 0.1.0"

static const struct command commands[] = {
    {"pki init", "private CA, certificates and profiles for a node and each role",
     pki_init_command},
    {"pki issue", "one more client certificate", pki_issue_command},
    {"pki show", "which certificates end when", pki_show_command},
    {"node init", "data directory and configuration of a new node", node_init_command},
    {"node repair", "a damaged node becomes a new one that replaces it", node_repair_command},
    {"ledger create", "create a ledger", ledger_create_command},
    {"ledger list", "all ledgers", ledger_list_command},
    {"account create", "create one account, or those of a CSV file", account_create_command},
    {"account show", "one account with its balances", account_show_command},
    {"account list", "accounts in order of creation", account_list_command},
    {"transfer create", "post one transfer", transfer_create_command},
    {"transfer show", "one transfer", transfer_show_command},
    {"transfer list", "transfers in order of commit", transfer_list_command},
    {"transfer export", "all transfers as lines of JSON", transfer_export_command},
    {"transfer import", "post the transfers of a CSV file; safe to repeat",
     transfer_import_command},
    {"request show", "what became of a request", request_show_command},
    {"request fence", "make sure that a request will never execute", request_fence_command},
    {"request in-doubt", "what may not have been answered around a failover",
     request_in_doubt_command},
    {"status", "how the node is", status_command},
    {"rpo", "what each site lacks", rpo_command},
    {"observe", "what clients at each site see, measured from outside", observe_command},
    {"trial-balance", "totals of a ledger, by account code", trial_balance_command},
    {"principal list", "who may call", principal_list_command},
    {"principal set", "allow, change or disable a caller", principal_set_command},
    {"member list", "the cluster's members", member_list_command},
    {"member add", "a node becomes a voting member", member_add_command},
    {"member replace", "a node takes the place of another", member_replace_command},
    {"member remove", "a node is no member any more", member_remove_command},
    {"leader transfer", "another member leads", leader_transfer_command},
    {"certificate show", "what a node can prove after a loss", certificate_show_command},
    {"certificate verify", "what survivors prove about a loss, offline",
     certificate_verify_command},
    {"site switchover", "a site leads; no request is refused for it", site_switchover_command},
    {"site drain", "a site neither leads nor serves clients", site_drain_command},
    {"site resume", "the reverse, once it is current", site_resume_command},
    {"durability show", "the rule about both sites, as it is now", durability_show_command},
    {"durability policy", "other rules for degrading and returning", durability_policy_command},
    {"durability degrade", "go on without a site", durability_degrade_command},
    {"durability return", "both sites again", durability_return_command},
    {"journal verify", "check a journal's files, offline", journal_verify_command},
    {"store verify", "check a store's files, offline", store_verify_command},
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_commands(FILE *out)
{
    fputs("Usage: tally [OPTION...] COMMAND [ARGUMENT...]\n\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-19s %s\n", commands[i].name, commands[i].summary);
    fputs("\n\"tally COMMAND --help\" tells about each. Every command that talks to a node takes "
          "--server, --ca,\n--cert, --key or --profile FILE, --deadline SECONDS and --json.\n"
          "Exit codes: 0 done; 1 some refused; 2 usage; 3 refused; 4 unreachable; 5 outcome "
          "unknown;\n"
          "6 damaged; 7 local error.\n",
          out);
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    (void)argument;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        state->next--; /* the command's name: the rest is its own */
        state->argc = state->next;
        return 0;
    case '?':
        print_commands(stdout);
        exit(output_finish() ? EXIT_OK : EXIT_LOCAL);
    case 'V':
        puts(VERSION);
        exit(output_finish() ? EXIT_OK : EXIT_LOCAL);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option main_options[] = {
    {"help", '?', NULL, 0, "This list", -1},
    {"version", 'V', NULL, 0, "Version", -1},
    {0},
};
static const struct argp main_argp = {
    .options = main_options, .parser = parse, .children = cli_children};

/* The command named by the first one or two of `count` words; NULL when there is none. */
static const struct command *find_command(char **words, int count, int *out_word_count)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *space = strchr(commands[i].name, ' ');
        size_t first =
            space != NULL ? (size_t)(space - commands[i].name) : strlen(commands[i].name);
        int needed = space != NULL ? 2 : 1;
        if (count < needed || strlen(words[0]) != first ||
            memcmp(words[0], commands[i].name, first) != 0)
            continue;
        if (space != NULL && strcmp(words[1], space + 1) != 0)
            continue;
        *out_word_count = needed;
        return &commands[i];
    }
    return NULL;
}

/* Whoever typed the first of two words only, "member" or "member --help", is shown the second ones.
 * Returns whether there are any. */
static bool print_group(FILE *out, const char *word)
{
    size_t length = strlen(word);
    bool any = false;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strncmp(commands[i].name, word, length) != 0 || commands[i].name[length] != ' ')
            continue;
        fprintf(out, "  %-19s %s\n", commands[i].name, commands[i].summary);
        any = true;
    }
    return any;
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    int index = argc;
    int words;
    char name[64];

    signal(SIGPIPE, SIG_IGN); /* a closed socket or pipe is an error of its write */
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER | ARGP_NO_HELP, &index, &cli);
    if (index >= argc) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    const struct command *command = find_command(argv + index, argc - index, &words);
    bool asks = index + 1 < argc && strcmp(argv[index + 1], "--help") == 0;
    if (command == NULL && asks && print_group(stdout, argv[index]))
        return output_finish() ? EXIT_OK : EXIT_LOCAL;
    if (command == NULL && index + 1 == argc && print_group(stderr, argv[index]))
        return EXIT_USAGE;
    if (command == NULL) {
        return cli_error(EXIT_USAGE, "there is no command \"%s%s%s\"; \"tally --help\" lists them",
                         argv[index], index + 1 < argc ? " " : "",
                         index + 1 < argc ? argv[index + 1] : "");
    }
    snprintf(name, sizeof name, "tally %s", command->name);
    char **arguments = argv + index + words - 1;
    arguments[0] = name;
    int code = command->run(&cli, argc - index - words + 1, arguments);
    cli_deinit(&cli);
    if (!output_finish() && code != EXIT_LOCAL) {
        (void)cli_error(EXIT_LOCAL, "the output could not be written");
        if (code == EXIT_OK)
            code = EXIT_LOCAL;
    }
    return code;
}
