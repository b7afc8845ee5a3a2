/*
 * Changes of the durability policy as operators write them: "decision=never preferred_site=A", with
 * the names that /status shows. What is not named stays as it is. Pure.
 */
#ifndef TALLY_REPLICATION_POLICY_SETTINGS_H
#define TALLY_REPLICATION_POLICY_SETTINGS_H

#include "replication/durability_entry.h"

/* Words KEY=VALUE with single spaces between them. STATUS_INVALID: *policy is unchanged, and
 * out_reason (`size` bytes) says which word is wrong and what would be right. */
enum status policy_settings_apply(const char *settings, struct durability_policy *policy,
                                  char *out_reason, size_t size);
bool policy_settings_same(const struct durability_policy *a, const struct durability_policy *b);

#endif
