/* What the files of the nemesis share. */
#ifndef TALLY_CHAOS_SIM_NEMESIS_INTERNAL_H
#define TALLY_CHAOS_SIM_NEMESIS_INTERNAL_H

#include "chaos/sim/nemesis.h"

#define NEMESIS_EXCUSE_NS (10 * NS_PER_S)

uint64_t nemesis_duration(struct nemesis *nemesis, uint64_t short_ns, uint64_t long_ns);
/* Fail-stops of the host are excused that long, and some time after. */
void nemesis_excuse(struct nemesis *nemesis, struct host *host, uint64_t duration_ns);
void nemesis_cut(struct nemesis *nemesis, uint32_t from, uint32_t to, uint64_t duration_ns);
struct host *nemesis_any_host(struct nemesis *nemesis);

/* A fault that goes on by itself: what is posted for it carries its number, and takes up its stream
 * again at each step. */
struct nemesis_step {
    uint64_t pair; /* two hosts, below 2^12 */
    uint64_t number, step;
};
uint64_t nemesis_pack(const struct nemesis_step *step);
struct nemesis_step nemesis_resume(struct nemesis *nemesis, uint64_t packed);

/* ---- nemesis_hosts.c ---- */
void nemesis_kill(struct nemesis *nemesis, struct host *host);
void nemesis_lose_power(struct nemesis *nemesis, struct host *host);
void nemesis_drain(struct nemesis *nemesis, struct host *host);
void nemesis_halt(struct nemesis *nemesis, struct host *host);
void nemesis_pause(struct nemesis *nemesis, struct host *host);
void nemesis_kill_many(struct nemesis *nemesis, struct host *host);
void nemesis_lose_power_many(struct nemesis *nemesis, struct host *host);
void nemesis_wipe(struct nemesis *nemesis, struct host *host);
void nemesis_hand_over(struct nemesis *nemesis, struct host *host);
void nemesis_stick(struct nemesis *nemesis, struct host *host);
void nemesis_slow_disk(struct nemesis *nemesis, struct host *host);
void nemesis_fill(struct nemesis *nemesis, struct host *host);
void nemesis_fail_once(struct nemesis *nemesis, struct host *host);
void nemesis_fail_often(struct nemesis *nemesis, struct host *host);
void nemesis_jump_clock(struct nemesis *nemesis, struct host *host);
void nemesis_drift(struct nemesis *nemesis, struct host *host);

/* ---- nemesis_network.c ---- */
void nemesis_cut_host(struct nemesis *nemesis, struct host *host);
void nemesis_cut_site(struct nemesis *nemesis, struct host *host);
void nemesis_cut_one_way(struct nemesis *nemesis, struct host *host);
void nemesis_cut_pairs(struct nemesis *nemesis, struct host *host);
void nemesis_flap(struct nemesis *nemesis, struct host *host);
void nemesis_reset(struct nemesis *nemesis, struct host *host);
void nemesis_slow_net(struct nemesis *nemesis, struct host *host);
void nemesis_loss(struct nemesis *nemesis, struct host *host);
void nemesis_reorder(struct nemesis *nemesis, struct host *host);
void nemesis_duplicate(struct nemesis *nemesis, struct host *host);
void nemesis_slow_link(struct nemesis *nemesis, struct host *host);
void nemesis_calm_network(struct nemesis *nemesis);

/* ---- nemesis_damage.c ---- */
void nemesis_damage(struct nemesis *nemesis, enum nemesis_kind kind, struct host *host);
/* A damage is under way: nothing else is begun. */
bool nemesis_is_held(const struct nemesis *nemesis);
/* Faults are over: what was damaged is replaced now. */
void nemesis_damage_end(struct nemesis *nemesis);

/* ---- nemesis.c, for the others ---- */
void nemesis_go_on(struct nemesis *nemesis);

/* ---- nemesis_sites.c ---- */
void nemesis_lose_site(struct nemesis *nemesis, struct host *host);
void nemesis_cut_link(struct nemesis *nemesis, struct host *host);
void nemesis_flap_link(struct nemesis *nemesis, struct host *host);
void nemesis_lose_witness(struct nemesis *nemesis, struct host *host);
void nemesis_stick_site(struct nemesis *nemesis, struct host *host);

#endif
