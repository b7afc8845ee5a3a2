/* Memory for the machine's large tables: zeroed pages straight from the kernel, which cost nothing
 * until they are touched. */
#ifndef TALLY_REPLICATION_MEMORY_H
#define TALLY_REPLICATION_MEMORY_H

#include "core/machine.h"

struct memory memory_pages(void);

#endif
