/*
 * flip_all: every single bit of a sealed segment flipped, or a number of random ones, each judged
 * by the real journal_verify(). Not part of the quick tests; see docs/formats/journal.md.
 *
 *   flip_all [--segment-size BYTES] [--payload-max BYTES] [--random COUNT] [--seed N]
 *            [--part K/N] [--second]
 *
 * Without --random all bits are flipped. --part K/N does every N-th bit from the K-th (1 .. N), so
 * that N processes share the work. --second flips the last, cleanly stopped segment. Exit code 0
 * when every flip was found at its record.
 */
#include "tests/storage/journal_flips.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    unsigned long long segment_size, payload_max, random, seed, part, parts;
    bool second;
};

static int usage(const char *wrong)
{
    fprintf(stderr,
            "flip_all: %s\nusage: flip_all [--segment-size BYTES] [--payload-max BYTES] "
            "[--random COUNT] [--seed N] [--part K/N] [--second]\n",
            wrong);
    return 2;
}

static bool number(const char *text, unsigned long long *out)
{
    char *end;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == 0;
}

static bool parse(int count, char **words, struct settings *settings)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(words[i], "--second") == 0) {
            settings->second = true;
            continue;
        }
        if (i + 1 == count)
            return false;
        const char *name = words[i];
        const char *value = words[++i];
        if (strcmp(name, "--part") == 0) {
            if (sscanf(value, "%llu/%llu", &settings->part, &settings->parts) != 2 ||
                settings->part == 0 || settings->part > settings->parts)
                return false;
        } else if (strcmp(name, "--segment-size") == 0) {
            if (!number(value, &settings->segment_size))
                return false;
        } else if (strcmp(name, "--payload-max") == 0) {
            if (!number(value, &settings->payload_max) || settings->payload_max > 1024 * 1024)
                return false;
        } else if (strcmp(name, "--random") == 0) {
            if (!number(value, &settings->random))
                return false;
        } else if (strcmp(name, "--seed") == 0) {
            if (!number(value, &settings->seed))
                return false;
        } else {
            return false;
        }
    }
    return true;
}

int main(int argument_count, char **arguments)
{
    struct settings s = {
        .segment_size = 1024 * 1024, .payload_max = 8192, .seed = 1, .part = 1, .parts = 1};
    if (!parse(argument_count, arguments, &s))
        return usage("unknown or incomplete option");
    if (s.segment_size < 65536 || s.segment_size > (1ull << 30) || s.segment_size % 4096 != 0)
        return usage("--segment-size must be 65536 .. 1073741824 and a multiple of 4096");
    if (s.payload_max > s.segment_size / 4)
        return usage("--payload-max must be at most a quarter of the segment");
    struct journal_flips flips;
    journal_flips_init(&flips, s.segment_size, (uint32_t)s.payload_max, s.second);
    const uint64_t bits = flips.size * 8;
    const uint64_t total = s.random > 0 ? s.random : (bits + s.parts - s.part) / s.parts;
    flips.rig.random = s.seed * 1000003 + s.part;
    printf("seed %llu, segment of %llu bytes, %llu flips\n", s.seed, s.segment_size,
           (unsigned long long)total);
    uint64_t missed = 0;
    for (uint64_t i = 0; i < total; i++) {
        const uint64_t bit = s.random > 0 ? rig_draw(&flips.rig) % bits : s.part - 1 + i * s.parts;
        const char *wrong = journal_flips_try(&flips, bit);
        if (wrong != NULL && ++missed <= 10)
            printf("bit %llu (byte %llu): %s\n", (unsigned long long)bit,
                   (unsigned long long)(bit / 8), wrong);
        if (i % (total / 20 + 1) == 0) {
            printf("%llu of %llu\n", (unsigned long long)i, (unsigned long long)total);
            (void)fflush(stdout); /* progress only */
        }
    }
    printf("%llu flips, %llu found at their record, %llu missed\n", (unsigned long long)total,
           (unsigned long long)(total - missed), (unsigned long long)missed);
    journal_flips_deinit(&flips);
    return missed == 0 ? 0 : 1;
}
