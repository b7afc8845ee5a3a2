/* Words for a refusal. */
#include "replication/node/node_error.h"

#include <stdarg.h>
#include <stdio.h>

enum status node_refuse(struct node_error *error, enum status status, const char *format, ...)
{
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return status;
}
