/* What the files of the nemesis share. */
#ifndef TALLY_CHAOS_SIM_NEMESIS_INTERNAL_H
#define TALLY_CHAOS_SIM_NEMESIS_INTERNAL_H

#include "chaos/sim/nemesis.h"

uint64_t nemesis_duration(struct nemesis *nemesis, uint64_t short_ns, uint64_t long_ns);
/* Fail-stops of the host are excused that long, and some time after. */
void nemesis_excuse(struct nemesis *nemesis, struct host *host, uint64_t duration_ns);
void nemesis_cut(struct nemesis *nemesis, uint32_t from, uint32_t to, uint64_t duration_ns);

/* ---- nemesis_sites.c ---- */
void nemesis_lose_site(struct nemesis *nemesis);
void nemesis_cut_link(struct nemesis *nemesis);
void nemesis_flap_link(struct nemesis *nemesis);
void nemesis_lose_witness(struct nemesis *nemesis);
void nemesis_stick_site(struct nemesis *nemesis);

#endif
