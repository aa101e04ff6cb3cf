/* machine_rows.h - names of META rows, and what the files of a machine, machine*.c, need of each other.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_MACHINE_MACHINE_ROWS_H
#define TROUPE_RUNTIME_MACHINE_MACHINE_ROWS_H

#include "runtime/machine/counters.h"
#include "runtime/machine/machine.h"

/* META rows. */
#define TROUPE__EGRESS_PREFIX "egress/" /* name -> varint: the last sequence */
#define TROUPE__INPUT_PREFIX "input/"   /* path -> varints: bytes, lines, trace (transport/input.h) */
#define TROUPE__ID_PREFIX                                                                                              \
    "id/" /* the two halves of an id -> varints: when it was taken in, in ms; slot of its actor                        \
           */

/* Timers that are not durable have the top bit in their ids, so that they never meet a handler's: the next attempt of a
 * message (its sequence) or of a job (its id). */
#define TROUPE__RETRY_BIT (UINT64_C(1) << 63)
#define TROUPE__JOB_RETRY (UINT64_C(3) << 62)

/* No node comes so far that its numbers of messages, timers and jobs touch those bits; rows that say so are refused. */
#define TROUPE__NUMBER_MAX (UINT64_C(1) << 61)

/* The number of an ask from outside. */
static inline uint64_t troupe__machine_next_ask(struct troupe__machine *machine)
{
    return TROUPE__ASK_BIT | troupe__delivery_next_id(&machine->ctx);
}

/* Change a row whose key is a number. */
static inline void troupe__machine_put_row(struct troupe__buffer *record, enum troupe__table table, uint64_t number,
                                           const struct troupe__buffer *value)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_set(record, table, key, sizeof key, value->data, value->size);
}

static inline void troupe__machine_remove_row(struct troupe__buffer *record, enum troupe__table table, uint64_t number)
{
    unsigned char key[8];
    troupe__put_be64(key, number);
    troupe__record_remove(record, table, key, sizeof key);
}

/* Sets the machine's error; returns TROUPE_ENOMEM. */
enum troupe_error troupe__machine_out_of_memory(struct troupe__machine *machine);
/* A line in the log. */
__attribute__((format(printf, 3, 4))) void troupe__machine_report(struct troupe__machine *machine,
                                                                  enum troupe_level level, const char *format, ...);

/* ---- machine_run.c ---- */

/* Milliseconds until the next try after `attempt` failures; the policy's zero fields have been filled in. */
int64_t troupe__machine_backoff(const struct troupe_retry *retry, uint32_t attempt);
/* The pause after a failure is over: the actor's oldest message may be tried again. */
void troupe__machine_unblock(struct troupe__machine *machine, struct troupe__actor *actor);

/* Append to its actor's inbox; it counts as waiting already. */
void troupe__machine_push(struct troupe__machine *machine, struct troupe__message *message);

/* Take in a message that has no row: into its actor's inbox, or into the outbox to the node where that lives. An answer
 * that comes too late is dropped. The message is the machine's on TROUPE_OK. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_take(struct troupe__machine *machine, struct troupe__message *message);

/* Find an egress, or add it; NULL when out of memory. */
struct troupe__egress_name *troupe__machine_find_egress(struct troupe__machine *machine, const char *name);

/* ---- machine_dead.c ---- */

/* Keep a message that failed for good. */
void troupe__machine_bury_message(struct troupe__machine *machine, const char *reason,
                                  const struct troupe__message *message);

/* ---- machine_jobs.c ---- */

/* Carry out the effect; takes over the job on TROUPE_OK. Errors: TROUPE_ENOMEM, as all of these. */
enum troupe_error troupe__machine_add_job(struct troupe__machine *machine, struct troupe__job *job);
/* Returns whether there was such a job. */
bool troupe__machine_cancel_job(struct troupe__machine *machine, uint64_t id);
/* Its epoch is the open one: let it be begun after that. */
enum troupe_error troupe__machine_begin_job(struct troupe__machine *machine, struct troupe__job *job);
/* At the seal: what is to be begun moves to the epoch. */
void troupe__machine_seal_jobs(struct troupe__machine *machine, struct troupe__epoch *epoch);

/* ---- machine_timers.c ---- */

/* Carry out the effect; takes over the message on TROUPE_OK. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_set_timer(struct troupe__machine *machine, const struct troupe__effect *effect);
/* Returns whether there was such a timer. */
bool troupe__machine_cancel_timer(struct troupe__machine *machine, uint64_t id);
/* Cancel the timeout of the ask that `answer` is for; `*ret` says whether there is one. The right to answer may have
 * come from anywhere: it does not cancel what else has that number. Errors: TROUPE_EIO, TROUPE_ECORRUPT, TROUPE_ENOMEM,
 * with the machine's error set. */
enum troupe_error troupe__machine_end_ask(struct troupe__machine *machine, const struct troupe__message *answer,
                                          bool *ret);
/* `timer`, which has been taken out, is due. Errors: as end_ask. */
enum troupe_error troupe__machine_fire(struct troupe__machine *machine, const struct troupe__timer *timer);
/* Errors: TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__machine_decode_timer(struct troupe__machine *machine, struct troupe_bytes row,
                                               int64_t *ret_due_ms, struct troupe__message **ret);
/* At the seal, and when folding has got on: let go of messages that the tables have. */
void troupe__machine_seal_timers(struct troupe__machine *machine);
void troupe__machine_drop_timers(struct troupe__machine *machine);

/* ---- machine_mail.c ---- */

/* Bytes of messages that each place where they wait may have. */
static inline size_t troupe__machine_part(const struct troupe__machine *machine)
{
    return machine->memory_max / 8;
}

/* Whether the machine is crowded is to be seen anew. */
void troupe__machine_see_crowd(struct troupe__machine *machine);

/* A new message, with its number, waits from now on. */
void troupe__machine_wait(struct troupe__machine *machine, struct troupe__message *message);
/* Take some. Errors: TROUPE_ENOMEM, TROUPE_EIO, TROUPE_ECORRUPT, with the machine's error set. */
enum troupe_error troupe__machine_refill(struct troupe__machine *machine);
/* Let go of what the tables have. */
void troupe__machine_drop_mail(struct troupe__machine *machine);

/* ---- machine_epoch.c ---- */

/* Keep a META row in memory. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_remember(struct troupe__machine *machine, const char *name, size_t name_size,
                                           struct troupe_bytes value);

/* ---- machine.c: what comes from outside ---- */

/* As troupe__machine_arrive, for any kind; `*ret_known` is set when the id was taken in before, else `*ret_number` of
 * an ask. */
enum troupe_error troupe__machine_take_in(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                          const char *type, struct troupe_bytes body, enum troupe__message_kind kind,
                                          bool *ret_known, uint64_t *ret_number);

/* Check a message from outside. Errors, with the machine's error: TROUPE_EINVAL, TROUPE_ETOOBIG. */
enum troupe_error troupe__machine_check_outside(struct troupe__machine *machine, struct troupe_address to,
                                                const char *type, struct troupe_bytes body);
/* An id of a message to an actor in `slot` is taken in, unless `*ret_known`. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_note_id(struct troupe__machine *machine, struct troupe__id id, uint16_t slot,
                                          bool *ret_known);

/* ---- machine_asks.c ---- */

/* The answer to ask `number` is to be kept for its id. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_expect_answer(struct troupe__machine *machine, struct troupe__id id, uint64_t number,
                                                uint16_t slot);

/* Answer an ask from outside, in the open epoch. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_answer(struct troupe__machine *machine, uint64_t number,
                                         const struct troupe__answer *answer);
/* The same by a message of kind TROUPE__OUTWARD, which is freed; dropped when that ask has been answered. The message
 * is the machine's on TROUPE_OK. */
enum troupe_error troupe__machine_answer_outside(struct troupe__machine *machine, struct troupe__message *message);
/* The same for a message that failed for good, if it is one. */
enum troupe_error troupe__machine_answer_failure(struct troupe__machine *machine, const struct troupe__message *message,
                                                 enum troupe_error failure, const char *reason);
/* The id is forgotten, and so is the answer. */
void troupe__machine_forget_answer(struct troupe__machine *machine, struct troupe__id id);

/* ---- machine_start.c ---- */

/* Bring in what the store holds, once, at the start. Errors: as troupe__machine_init; the machine then still holds
 * what came in before. */
enum troupe_error troupe__machine_load(struct troupe__machine *machine);

/* ---- machine_state.c ---- */

/* Add the changed values to the record: the last thing that an epoch does with state. */
void troupe__machine_seal_state(struct troupe__machine *machine);

/* Ask for a sweep of the rows of state below `key`, see TROUPE__SWEEP. */
void troupe__machine_note_sweep(struct troupe__machine *machine, int64_t time_ms, struct troupe_bytes key);

/* ---- machine_specs.c ---- */

/* Once, at the start: the first epoch is to say what the module declares, if no earlier one does. What it no longer
 * declares is logged. Errors: TROUPE_ECORRUPT, TROUPE_EVERSION, TROUPE_ENOMEM, with the machine's error set. */
enum troupe_error troupe__machine_begin_specs(struct troupe__machine *machine, const struct troupe_module *module);
/* At the seal. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_seal_specs(struct troupe__machine *machine);

#endif
