/* start_fuzz.c - a machine started on a store with any rows refuses them, or runs, and then starts again.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Input: whether the rows are in the tables (1 byte), then a record, as core/store.h has it. */
#include <assert.h>
#include <stdio.h>

#include "runtime/machine/machine.h"
#include "state/memory_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct troupe_value count = {"count", TROUPE_INT}, name = {"name", TROUPE_STRING};
static const struct troupe_value *const values[] = {&count, &name, NULL};

static enum troupe_error work(struct troupe_job_context *job, struct troupe_bytes input)
{
    return input.size % 2 ? troupe_job_return(job, input) : TROUPE_EFAILED;
}

static const struct troupe_job_type work_job = {.name = "work", .run = work};
static const struct troupe_job_type *const jobs[] = {&work_job, NULL};

static enum troupe_error handle(struct troupe_context *ctx, const struct troupe_message *message)
{
    int64_t number = 0;
    struct troupe_bytes bytes;
    (void)troupe_get_int(ctx, &count, &number);
    (void)troupe_get_bytes(ctx, &name, &bytes);
    (void)troupe_set_int(ctx, &count, number ^ (int64_t)message->body.size);
    (void)troupe_set_bytes(ctx, &name, message->body);
    (void)troupe_emit(ctx, "out", "k", message->body);
    return message->from.type[0] ? troupe_reply(ctx, "r", message->body) : TROUPE_OK;
}

static const struct troupe_type types[] = {
    {.name = "a/b", .handler = handle, .values = values, .retry = {.attempts = 2, .backoff_ms = 1}, .jobs = jobs}};
static const struct troupe_module module = {TROUPE_ABI, "fuzz", "1", types, 1};

/* Mail is read when its turn comes, so what is wrong with it may be found only here. Returns false then. */
static bool run(struct troupe__machine *machine, struct troupe__store *store)
{
    bool good = true;
    struct troupe__epoch epoch = {0};
    for (int i = 0; i < 4 && good; i++) {
        size_t done;
        enum troupe_error result = troupe__machine_set_now(machine, 1 + i * 1000);
        result = result == TROUPE_OK ? troupe__machine_run(machine, 64, &done) : result;
        result = result == TROUPE_OK ? troupe__machine_seal(machine, &epoch) : result;
        if (result == TROUPE_ECORRUPT) {
            assert(machine->error[0]);
            good = false;
            continue;
        }
        assert(result == TROUPE_OK);
        result = store->commit(store, epoch.number, (struct troupe_bytes){epoch.record.data, epoch.record.size});
        assert(result == TROUPE_OK);
        for (size_t j = 0; j < epoch.job_count; j++) {
            struct troupe_job_context *job = troupe__job_run_new(epoch.jobs[j], NULL);
            assert(job);
            troupe__job_run(job);
            struct troupe_bytes output = {job->output.data, job->output.size};
            result = troupe__machine_job_done(machine, epoch.jobs[j], job->result, output, job->reason);
            assert(result == TROUPE_OK);
            troupe__job_run_free(job);
        }
        troupe__epoch_drop_jobs(&epoch);
    }
    troupe__epoch_fini(&epoch);
    return good;
}

/* Whether there are only changes that a store takes. */
static bool well_formed(struct troupe_bytes record)
{
    struct troupe__cursor cursor = {record.data, (const unsigned char *)record.data + record.size, false};
    struct troupe__change change;
    while (troupe__record_next(&cursor, &change)) {
    }
    return !cursor.failed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[512];
    struct troupe_bytes record = {data + 1, size - 1};
    if (size < 1 || !well_formed(record)) {
        return 0;
    }
    struct troupe__memory_disk *disk = troupe__memory_disk_new();
    assert(disk);
    for (int start = 0; start < 3; start++) {
        struct troupe__store *store;
        struct troupe__machine machine;
        enum troupe_error result = troupe__memory_store_open(disk, &store, error, sizeof error);
        assert(result == TROUPE_OK);
        if (start == 0) {
            result = store->commit(store, 1, record);
            assert(result == TROUPE_OK);
            if (data[0] & 1) {
                store->refresh(store);
            }
            store->close(store);
            continue;
        }
        result = troupe__machine_init(&machine, &module, store, 7, NULL, NULL);
        if (result == TROUPE_OK) {
            start = run(&machine, store) ? start : 2;
            troupe__machine_fini(&machine);
        } else {
            /* Rows that no node wrote, such as mail beyond the counters, may be found at the second start only. */
            assert((start == 1 || result == TROUPE_ECORRUPT) && result != TROUPE_ENOMEM && machine.error[0]);
            start = 2;
        }
        store->close(store);
    }
    troupe__memory_disk_free(disk);
    return 0;
}
