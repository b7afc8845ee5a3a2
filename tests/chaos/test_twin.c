/* The store's twin of the simulator passes the claims of every checkpoint, on the simulator's own
 * disk, and keeps what it had flushed through a power loss, and nothing else. */
#include "chaos/sim/disk.h"
#include "chaos/sim/twin.h"
#include "tests/storage/checkpoint_suite.h"
#include "tests/storage/epoch_maker.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

struct rig {
    struct world world;
    struct disk disk;
    struct files files;
};

static void rig_init(struct rig *rig)
{
    world_init(&rig->world, 1, false, 0);
    disk_init(&rig->disk, &rig->world, 1, 0);
    cr_assert_eq(disk_make_directory(&rig->disk, "/store"), STATUS_OK);
    cr_assert_eq(disk_sync_parent(&rig->disk, "/store"), STATUS_OK);
    cr_assert_eq(disk_open_directory(&rig->disk, "/store", &rig->files), STATUS_OK);
}

static void rig_deinit(struct rig *rig)
{
    disk_close_directory(&rig->files);
    disk_deinit(&rig->disk);
    world_deinit(&rig->world);
}

static enum status rig_open(void *context, struct checkpoint **out)
{
    struct rig *rig = context;
    struct store_error error;
    return twin_open(&rig->files, NULL, &(struct store_options){.path = "/store"}, out, &error);
}

/* Another directory of the same disk, holding a copy's bytes. */
static enum status rig_adopt(void *context, const void *bytes, size_t size, struct checkpoint **out)
{
    struct rig *rig = context;
    struct store_error error;
    struct files files;
    cr_assert_eq(disk_make_directory(&rig->disk, "/adopted"), STATUS_OK);
    cr_assert_eq(disk_open_directory(&rig->disk, "/adopted", &files), STATUS_OK);
    cr_assert_eq(files_replace(&files, CHECKPOINT_COPY_FILE, bytes, size), STATUS_OK);
    return twin_open(&files, disk_close_directory, &(struct store_options){.path = "/adopted"}, out,
                     &error);
}

/* Parameters travel to another process, where functions lie elsewhere: numbers, not pointers. */
ParameterizedTestParameters(twin, passes_the_checkpoint_suite)
{
    static unsigned number[32];
    for (unsigned i = 0; i < checkpoint_case_count; i++)
        number[i] = i;
    return cr_make_param_array(unsigned, number, checkpoint_case_count);
}

ParameterizedTest(unsigned *number, twin, passes_the_checkpoint_suite, .timeout = 200)
{
    struct rig rig;
    rig_init(&rig);
    checkpoint_cases[*number].run(
        &(struct checkpoint_target){.context = &rig, .open = rig_open, .adopt = rig_adopt});
    rig_deinit(&rig);
}

/* An epoch is flushed, a second one dies in the middle of its write: the first is there, whole. */
Test(twin, keeps_what_it_flushed_through_a_power_loss)
{
    for (uint32_t halt = 1; halt <= 2; halt++) {
        struct rig rig;
        rig_init(&rig);
        struct epoch_maker *maker =
            epoch_maker_create(&(struct epoch_maker_options){.seed = halt, .base_accounts = 5});
        struct checkpoint *twin = NULL;
        struct checkpoint_meta first, second, found;
        uint64_t wait_ns;
        cr_assert_eq(rig_open(&rig, &twin), STATUS_OK);
        const struct epoch *epoch =
            epoch_maker_next(maker, &(struct epoch_plan){.transfers = 100}, &first);
        cr_assert_eq(checkpoint_drive(twin, epoch, &first), STATUS_OK);
        epoch = epoch_maker_next(maker, &(struct epoch_plan){.transfers = 900}, &second);
        cr_assert_eq(checkpoint_submit(twin, epoch, &second, NULL, NULL), STATUS_OK);
        rig.disk.halt_in = halt; /* 1: in the write; 2: in the sync, which then is done */
        cr_assert_eq(checkpoint_step(twin, &wait_ns), JOB_FAILED);
        checkpoint_close(twin);
        disk_power_loss(&rig.disk);
        cr_assert_eq(rig_open(&rig, &twin), STATUS_OK);
        cr_assert_eq(checkpoint_meta(twin, &found), STATUS_OK);
        cr_assert_eq(found.index, halt == 1 ? first.index : second.index);
        struct checkpoint_stats stats;
        checkpoint_stats(twin, &stats);
        cr_assert_eq(stats.transfer_count, halt == 1 ? 100 : 1000);
        checkpoint_close(twin);
        epoch_maker_destroy(maker);
        rig_deinit(&rig);
    }
}

/* No room: the status says so, and the same epoch is taken once there is room again. */
Test(twin, takes_a_refused_epoch_again)
{
    struct rig rig;
    rig_init(&rig);
    struct epoch_maker *maker =
        epoch_maker_create(&(struct epoch_maker_options){.seed = 3, .base_accounts = 5});
    struct checkpoint *twin = NULL;
    struct checkpoint_meta meta;
    cr_assert_eq(rig_open(&rig, &twin), STATUS_OK);
    const struct epoch *epoch =
        epoch_maker_next(maker, &(struct epoch_plan){.transfers = 100}, &meta);
    rig.disk.capacity = rig.disk.used + 1000;
    cr_assert_eq(checkpoint_drive(twin, epoch, &meta), STATUS_DISK_FULL);
    rig.disk.capacity = UINT64_MAX;
    cr_assert_eq(checkpoint_drive(twin, epoch, &meta), STATUS_OK);
    checkpoint_finish(twin);
    epoch_maker_destroy(maker);
    rig_deinit(&rig);
}
