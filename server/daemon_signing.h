/* The node's certificates of durability are signed with its TLS key: the table of functions that
 * the node wants, over net/signature.h. Loop thread. */
#ifndef TALLY_SERVER_DAEMON_SIGNING_H
#define TALLY_SERVER_DAEMON_SIGNING_H

#include "net/error.h"
#include "replication/node/certificate.h"

struct signer;

struct daemon_signing {
    struct signer *signer;
    struct certificate_signer table;
};

/* As signer_create(). */
enum status daemon_signing_open(struct daemon_signing *signing, const char *certificate_file,
                                const char *key_file, struct net_error *out_error);
/* The files as they are now; what cannot be read leaves everything as it was. */
enum status daemon_signing_reload(struct daemon_signing *signing, const char *certificate_file,
                                  const char *key_file, struct net_error *out_error);
void daemon_signing_close(struct daemon_signing *signing); /* never opened is allowed */

#endif
