/*
 * What the configuration names must be there before anything starts: certificate, key, CA and CRL
 * can be read by the node's user, and the key by nobody else's. A node that has peers needs the
 * certificate of its own number: with another's every peer would refuse it, and each log would
 * say so for ever.
 */
#include "server/config.h"

#include "net/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status open_status(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EACCES:
    case EPERM:
        return STATUS_PERMISSION;
    default:
        return STATUS_IO;
    }
}

static enum status check_file(const char *name, const char *path, bool secret,
                              struct config_error *out_error)
{
    struct stat about;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        int error = errno;
        snprintf(out_error->text, sizeof out_error->text,
                 "%s: %.400s cannot be opened: %s; the node's user must be able to read it", name,
                 path, strerror(error));
        return open_status(error);
    }
    enum status status = STATUS_OK;
    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        snprintf(out_error->text, sizeof out_error->text, "%s: %.400s is not a file", name, path);
        status = STATUS_INVALID;
    } else if (secret && (about.st_mode & S_IRWXO)) {
        snprintf(out_error->text, sizeof out_error->text,
                 "%s: %.400s may be read by every user of this machine (mode %04o); run chmod "
                 "o-rwx on it",
                 name, path, (unsigned)(about.st_mode & 07777));
        status = STATUS_PERMISSION;
    }
    close(descriptor);
    return status;
}

enum status config_check_files(const struct config *config, struct config_error *out_error)
{
    enum status status = check_file("tls.certificate", config->certificate, false, out_error);
    if (status == STATUS_OK)
        status = check_file("tls.key", config->key, true, out_error);
    if (status == STATUS_OK)
        status = check_file("tls.ca", config->ca, false, out_error);
    if (status == STATUS_OK && config->crl[0])
        status = check_file("tls.crl", config->crl, false, out_error);
    return status;
}

enum status config_check_identity(const struct config *config, uint64_t node_id,
                                  struct config_error *out_error)
{
    struct identity identity;
    struct net_error error;
    char expected[sizeof config->peer_uri_prefix + 24];
    if (!config->peer.host[0])
        return STATUS_OK;
    if (identity_of_file(config->certificate, &identity, &error) != STATUS_OK) {
        snprintf(out_error->text, sizeof out_error->text, "tls.certificate: %s", error.text);
        return STATUS_INVALID;
    }
    snprintf(expected, sizeof expected, "%s%" PRIu64, config->peer_uri_prefix, node_id);
    if (strcmp(identity.uri, expected) == 0)
        return STATUS_OK;
    snprintf(
        out_error->text, sizeof out_error->text,
        "tls.certificate: %.200s is for %.120s, and peers expect %.120s of this node (the number "
        "in its data directory behind peer.uri_prefix); name its own certificate and key",
        config->certificate, identity.uri, expected);
    return STATUS_INVALID;
}
