/* The virtual operating system under one node. */
#ifndef TALLY_CHAOS_SIM_HOST_ENVIRONMENT_H
#define TALLY_CHAOS_SIM_HOST_ENVIRONMENT_H

#include "chaos/sim/host.h"

/* Fills host->environment and the options that point to it. */
void host_environment_init(struct host *host);

#endif
