/* Formatting of errors for people; a text that does not fit is cut, never refused. */
#include "net/error.h"

#include <stdarg.h>
#include <stdio.h>

void net_error_set(struct net_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof error->text, format, arguments); /* cut is fine */
    va_end(arguments);
}
