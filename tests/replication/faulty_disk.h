/*
 * A real directory whose calls can be made to fail: the environment's open_directory for tests. One
 * faulty_disk serves all directories of a node. Switches are read under a mutex, so a test may move
 * them while the jobs run.
 */
#ifndef TALLY_TESTS_REPLICATION_FAULTY_DISK_H
#define TALLY_TESTS_REPLICATION_FAULTY_DISK_H

#include "storage/files.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define FAULTY_NAME_SIZE    64
#define FAULTY_UNSYNCED_MAX 16

struct faulty_disk {
    pthread_mutex_t mutex;
    enum status write_status; /* STATUS_OK: works */
    enum status sync_status;
    enum status allocate_status; /* also of files_replace's temporary */
    enum status create_status;   /* open with FILE_CREATE */
    uint64_t free_bytes;         /* UINT64_MAX: the real number */
    /* The n-th write, sync, allocate, create, rename or remove from now on (1 = the next) fails. */
    uint64_t fail_at;
    enum status fail_status;
    bool dies; /* and every one after it, as if the process had ended there */
    bool dead;
    uint64_t call_count; /* of such calls */
    bool hang;           /* writes do not return before it is false again */
    uint32_t hung_count; /* writes that wait so */
    pthread_cond_t changed;
    /* What a loss of power may take: files with writes behind their last sync. One that is closed
     * like that is lost for good, since nobody can tell any more; its name is kept. */
    struct {
        const struct file *file;
        char name[FAULTY_NAME_SIZE];
    } unsynced[FAULTY_UNSYNCED_MAX];
    uint32_t unsynced_count;
    char closed_unsynced[FAULTY_NAME_SIZE]; /* the last of them; empty: none */
};

void faulty_disk_init(struct faulty_disk *disk);
/* For struct environment: context is a struct faulty_disk *. */
enum status faulty_disk_open(struct faulty_disk *disk, const char *path, struct files *out_files);
void faulty_disk_close(struct files *files);
/* Sets one switch from the test's thread. */
void faulty_disk_set(struct faulty_disk *disk, enum status *which, enum status status);
void faulty_disk_set_hang(struct faulty_disk *disk, bool hang);
uint32_t faulty_disk_hung_count(struct faulty_disk *disk);
void faulty_disk_set_free(struct faulty_disk *disk, uint64_t free_bytes);

#endif
