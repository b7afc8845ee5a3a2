/* Memory for machines in tests, see test_memory.h. Pages straight from the system: what a machine
 * reserves is far more than it touches. */
#include "test_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static void *test_memory_allocate(void *context, size_t size)
{
    struct test_memory *memory = context;
    memory->asked_count++;
    if (memory->asked_count == memory->refuse_at)
        return NULL;
    void *pointer = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pointer == MAP_FAILED)
        return NULL;
    memory->out_count++;
    memory->out_bytes += size;
    return pointer;
}

static void test_memory_release(void *context, void *pointer, size_t size)
{
    struct test_memory *memory = context;
    if (memory->out_count == 0 || memory->out_bytes < size || munmap(pointer, size) != 0) {
        fprintf(stderr, "test_memory: released what was not allocated\n");
        abort();
    }
    memory->out_count--;
    memory->out_bytes -= size;
}

struct memory test_memory_of(struct test_memory *memory)
{
    return (struct memory){
        .context = memory,
        .allocate = test_memory_allocate,
        .release = test_memory_release,
    };
}
