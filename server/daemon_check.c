/*
 * `tallyd --check-config`: what would stop the start, as far as it can be told while another
 * process runs the node. The rights are given up as at the start, so the files are looked at with
 * the eyes of the node's user; no port is taken, no data is opened, nothing is written.
 */
#include "net/tls.h"
#include "replication/directory.h"
#include "replication/environment.h"
#include "server/daemon_internal.h"
#include "server/privilege.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum status check_privileges(const struct config *config, struct config_error *out_error)
{
    struct privilege_error error;
    bool changed;
    /* Somebody who is not root may check a configuration that names another user, as himself. */
    const char *user = geteuid() == 0 ? config->user : "";
    enum status status = privilege_drop(user, config->allow_root, &changed, &error);
    if (status != STATUS_OK)
        snprintf(out_error->text, sizeof out_error->text, "%s", error.text);
    return status;
}

/* Certificate, key, authority and revocation list are what they should be, fit and are valid. */
static enum status check_tls(const struct config *config, struct config_error *out_error)
{
    const struct tls_options options = {
        .side = TLS_SERVER,
        .certificate_file = config->certificate,
        .key_file = config->key,
        .ca_file = config->ca,
        .crl_file = config->crl[0] ? config->crl : NULL,
    };
    struct tls_context *context;
    struct net_error error = {.text = ""};
    enum status status = tls_context_create(&options, &context, &error);
    if (status == STATUS_OK)
        tls_context_destroy(context);
    else
        snprintf(out_error->text, sizeof out_error->text, "tls: %s", error.text);
    return status == STATUS_IO ? STATUS_INVALID : status;
}

static enum status check_directory(const struct config *config, struct config_error *out_error)
{
    if (access(config->directory, R_OK | W_OK | X_OK) == 0)
        return STATUS_OK;
    int error = errno;
    snprintf(out_error->text, sizeof out_error->text,
             "node.directory: %.400s cannot be used: %s; \"tally node init\" makes it, and the "
             "node's user must own it",
             config->directory, strerror(error));
    return error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_PERMISSION;
}

/* Who the node is, in its data directory, and who its certificate says it is. A directory that is
 * in use can be read all the same. */
static enum status check_self(const struct config *config, struct config_error *out_error)
{
    struct member self;
    if (daemon_self(config, &self))
        return config_check_identity(config, self.node_id, out_error);
    snprintf(
        out_error->text, sizeof out_error->text,
        "node.directory: %.400s holds no readable file identity: it is no data directory, or of "
        "another version; \"tally node init\" makes one",
        config->directory);
    return STATUS_NOT_FOUND;
}

bool daemon_self(const struct config *config, struct member *out)
{
    const struct environment *environment = environment_real();
    struct files files;
    struct identity identity;
    if (environment->open_directory(environment->context, config->directory, &files) != STATUS_OK)
        return false;
    enum status status = identity_read(&files, &identity);
    environment->close_directory(environment->context, &files);
    if (status == STATUS_OK)
        identity_member(&identity, out);
    return status == STATUS_OK;
}

enum status daemon_check(const struct config *config, struct config_error *out_error)
{
    enum status status = check_privileges(config, out_error);
    if (status == STATUS_OK)
        status = config_check_files(config, out_error);
    if (status == STATUS_OK)
        status = check_tls(config, out_error);
    if (status == STATUS_OK)
        status = check_directory(config, out_error);
    if (status == STATUS_OK)
        status = check_self(config, out_error);
    return status;
}
