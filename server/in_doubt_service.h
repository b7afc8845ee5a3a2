/* Admin.ListInDoubt, and what the services tell the node about requests that ended badly. */
#ifndef TALLY_SERVER_IN_DOUBT_SERVICE_H
#define TALLY_SERVER_IN_DOUBT_SERVICE_H

#include "server/dispatch.h"

void in_doubt_service_begin(struct work *work);

#endif
