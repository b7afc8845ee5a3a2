/* Certificates for tests, made by OpenSSL in a directory of the test's own. */
#ifndef TALLY_TESTS_NET_PKI_H
#define TALLY_TESTS_NET_PKI_H

#include <stdbool.h>

struct pki; /* an authority: key and certificate */

struct pki_certificate {
    const char *file;              /* writes DIR/<file>.pem and DIR/<file>.key */
    const char *alternative_names; /* as in openssl.cnf: "URI:spiffe://bank/a,DNS:localhost" */
    int valid_from_s, valid_to_s;  /* from now; both 0 = from -60 to +3600 */
    bool client_only, server_only; /* extended key usage; neither = both */
};

/* Makes an authority and writes DIR/<name>.pem. Ends the process when anything fails. */
struct pki *pki_create(const char *directory, const char *name);
void pki_issue(struct pki *pki, const struct pki_certificate *certificate);
/* Writes DIR/<file>.pem, a revocation list; revoked names the certificate's file, NULL = empty
 * list. */
void pki_revoke(struct pki *pki, const char *file, const char *revoked);
void pki_destroy(struct pki *pki);

#endif
