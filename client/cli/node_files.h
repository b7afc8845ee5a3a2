/*
 * Files of a node that the command line changes after they were made: its configuration's
 * certificate and key, and small files that must be whole. Each returns an exit code, after a
 * message.
 */
#ifndef TALLY_CLIENT_CLI_NODE_FILES_H
#define TALLY_CLIENT_CLI_NODE_FILES_H

#include <stdint.h>
#include <sys/types.h>

/* Writes beside, syncs, renames, syncs the directory: the old text or the new one, durably. */
int node_file_replace(const char *path, const char *text, mode_t mode);
int node_directory_sync(const char *path);
/* Gives a directory and all in it to a user; as root only, else nothing is done. */
int node_directory_give(const char *path, uid_t user, gid_t group);

/* journal.segment_bytes of a configuration; 64 MiB when it does not say. */
uint64_t node_config_segment_bytes(const char *yaml);

/* The configuration names certificate and key of a node by files called node-OLD.pem and
 * node-OLD.key, as "tally node init" writes it. Checks that those of the new number are beside
 * them, or in `pki` (NULL: none), or already named. */
int node_config_check_certificate(const char *yaml, const char *pki, uint64_t old_id,
                                  uint64_t new_id);
/* Copies them from `pki` where they are missing, with owner and mode of the old ones, and names
 * them in the configuration. Done already: nothing. */
int node_config_set_certificate(const char *yaml, const char *pki, uint64_t old_id,
                                uint64_t new_id);

#endif
