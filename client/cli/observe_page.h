/* The page of `tally observe` (observe_page.html) as bytes: what stands before its data, and behind
 * it. Made by observe_embed.py. */
#ifndef TALLY_CLIENT_CLI_OBSERVE_PAGE_H
#define TALLY_CLIENT_CLI_OBSERVE_PAGE_H

#include <stddef.h>

extern const size_t observe_page_before_size, observe_page_after_size;
extern const unsigned char observe_page_before[], observe_page_after[];

#endif
