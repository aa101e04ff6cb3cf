/* machine.h - a node without its loop: messages in, epochs out.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Pure but for reads through the store seam: no thread, no socket, no clock. Its owner tells it the time, hands it
 * what arrived, lets it run, seals epochs, commits them, and says when they are durable.
 *
 *     arrive / set_now --> run --> seal --> (commit the record) --> (let the epoch's egress records out)
 *                           ^        |
 *                           +--------+  the next epoch is open as soon as one is sealed
 *
 * A delivery's effects join the open epoch only if its handler succeeds. A message handled in the epoch that sent it
 * never becomes a row; at the seal those that still wait do.
 * Rows: see core/store.h; META "specs" is core/specs.h; META "counters" holds the last sequence, timer and egress
 * number, and how many messages wait. */
#ifndef TROUPE_RUNTIME_MACHINE_MACHINE_H
#define TROUPE_RUNTIME_MACHINE_MACHINE_H

#include "core/delivery.h"
#include "core/post.h"
#include "mailbox/backlog.h"
#include "mailbox/ids.h"
#include "mailbox/responses.h"
#include "mailbox/returns.h"
#include "mailbox/timers.h"
#include "runtime/machine/egress.h"
#include "runtime/guard.h"
#include "runtime/machine/run_queue.h"
#include "runtime/machine/sweeper.h"

/* A sealed epoch, ready to be committed. Buffers belong to the owner and are used again. */
struct troupe__epoch {
    uint64_t number;
    struct troupe__buffer record;
    struct troupe__buffer egress;  /* what to let out once durable: see troupe__egress_next */
    struct troupe__buffer answers; /* to asks from outside: strings, each a row of mailbox/responses.h */
    uint64_t egress_last;          /* the number of the last record in it, 0 when there is none */
    struct troupe__job **jobs; /* to begin once durable, each a reference of the owner's; a cancelled one may be among
                                * them */
    size_t job_count, job_capacity;
};

/* Give up the jobs that were not begun. */
void troupe__epoch_drop_jobs(struct troupe__epoch *epoch);
void troupe__epoch_fini(struct troupe__epoch *epoch);

/* The running number of one egress. */
struct troupe__egress_name {
    char name[TROUPE_NAME_MAX + 1];
    uint64_t sequence;
    bool changed; /* in the open epoch */
};

/* A META row as it was at the start, or as it was set since. */
struct troupe__mark {
    char *name;
    struct troupe__buffer value;
};

struct troupe__machine_stats {
    uint64_t deliveries, failures, dead, epochs, repeats;
    uint64_t late_answers; /* that came after the timeout, or were not the first */
    uint64_t jobs_begun;
};

/* Which timers' messages are in the tables only: see machine_timers.c. */
struct troupe__timer_spill {
    size_t size;     /* bytes of those in memory */
    uint64_t folded; /* timers up to this number have their rows in the tables */
    struct troupe__timer_seal {
        uint64_t epoch, timer; /* once that epoch is in the tables, timers up to this number have their rows there */
    } next, last;              /* the seal that is waited for (epoch 0: none), and the last one */
    size_t hand;               /* in the heap */
    uint64_t read_back;
};

struct troupe__machine {
    struct troupe__actors actors;
    struct troupe__store *store;
    struct troupe_context ctx;
    struct troupe__timers timers;
    struct troupe__timer_spill spill;
    struct troupe__jobs jobs;
    struct troupe__job **begun; /* to begin once the open epoch is durable, a reference each */
    size_t begun_count, begun_capacity;
    troupe_log_fn log;
    void *log_context;
    struct troupe__guard *guard; /* the owner's; NULL: none. See guard.h */

    struct troupe__post post; /* of troupe__machine_run, which leaves it empty */
    struct troupe__run_queue run_queue;
    bool at_hand;      /* the receiver of what is taken in runs soon: it has just been looked up */
    size_t waiting;    /* messages in inboxes and in the backlog */
    size_t inbox_size; /* bytes of those in inboxes */
    struct troupe__backlog backlog;
    bool crowded;   /* too much waits to be folded: nothing is handled; see machine_mail.c */
    size_t blocked; /* actors that wait for an attempt */
    uint64_t sequence, egress_number, egress_released;
    uint64_t egress_sealed; /* the last record of the epoch sealed last */
    struct troupe__egress_rows egress_rows;

    struct troupe__message **fresh; /* of this epoch, without a row; NULL where handled meanwhile */
    size_t fresh_count, fresh_capacity;
    struct troupe__buffer record, egress, answers, scratch; /* of the open epoch */
    uint64_t epoch;                                         /* the open one */
    uint64_t folded; /* the tables that are read hold everything up to this epoch */
    bool counters_changed;
    struct troupe__egress_name *egress_names;
    size_t egress_name_count;
    struct troupe__ids ids;
    struct troupe__responses responses;
    struct troupe__returns returns;
    uint64_t forwarded; /* asks put into outboxes since the start */
    char asker_key[16]; /* of the address that stands for this node; see machine_forward.h */
    struct troupe__mark *marks;
    size_t mark_count;
    struct troupe__buffer unreleased; /* egress records found at the start */
    struct troupe__links *links;      /* to other nodes; NULL: this one is alone. See links.h */
    struct troupe__buffer unsent;     /* outbox rows found in the journal at the start, for the links */
    size_t outgoing_size;             /* bytes of what the open epoch sends there: they become rows at the seal */
    bool stalled;                     /* an outbox is full: nothing is handled, all is taken in */
    bool held;                        /* an outbox is long: nothing is taken in from outside */
    size_t memory_max;                /* bytes; the owner may set it at any time */
    int64_t swept_ms;                 /* up to when the hand has done its rounds; see refresh */
    uint64_t swept_deliveries;
    struct troupe__sweeper sweeper;
    struct troupe__buffer specs; /* what the module declares, if that is not what the META row says; machine_specs.c */
    struct troupe__machine_stats stats;
    uint64_t settling;          /* nothing is delivered until this epoch is durable, see bury_crasher; 0: none */
    uint64_t sealed_deliveries; /* of stats, when the last epoch was sealed */
    char error[512];
};

/* Start a machine on a store, replaying what the store's journal has beyond its tables. The store stays the caller's.
 * Errors: TROUPE_EINVAL (the module; see `error`), TROUPE_ECORRUPT, TROUPE_EIO, TROUPE_ENOMEM. */
enum troupe_error troupe__machine_init(struct troupe__machine *machine, const struct troupe_module *module,
                                       struct troupe__store *store, uint64_t seed, troupe_log_fn log,
                                       void *log_context);
void troupe__machine_fini(struct troupe__machine *machine);

/* Tell the time (milliseconds since 1970; an earlier one than before is taken as the one before); due timers fire,
 * as many as there is room for. */
enum troupe_error troupe__machine_set_now(struct troupe__machine *machine, int64_t now_ms);

/* Milliseconds until the next timer, -1 when there is none. */
int64_t troupe__machine_next_due(const struct troupe__machine *machine);

/* A message from outside. With an `id` seen before for this actor within 24 hours nothing happens.
 * Errors: TROUPE_EINVAL, TROUPE_ETOOBIG, with `error`; TROUPE_ENOMEM. */
enum troupe_error troupe__machine_arrive(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                         const char *type, struct troupe_bytes body);

/* A message from outside whose handler's reply (troupe_reply) goes back outside: it comes, once, in an epoch's
 * `answers` under `*ret_number`. So does the failure of a message that became a dead letter, and TROUPE_ENOTFOUND when
 * its handler replied nothing. With an `id` asked before nothing is sent; `*ret_known` is what is known of that ask
 * (valid until the machine is given anything else): when it is answered, the answer is durable once the epoch that is
 * open now is. It does not wait behind all that waits (runtime/machine/run_queue.h). Errors: as arrive; TROUPE_EINVAL
 * too for an id that was sent, not asked. */
enum troupe_error troupe__machine_ask(struct troupe__machine *machine, const char *id, struct troupe_address to,
                                      const char *type, struct troupe_bytes body, uint64_t *ret_number,
                                      const struct troupe__response **ret_known);

/* The answer to an ask with that id; valid until the machine is given anything else. Errors: TROUPE_ENOTFOUND (none, or
 * expired), TROUPE_EIO, TROUPE_ECORRUPT with `error`. */
enum troupe_error troupe__machine_read_answer(struct troupe__machine *machine, struct troupe__id id,
                                              struct troupe__answer *ret);

/* Dead letter `number`, whose row is `row`: gone, and if `retry` waiting again, behind all that does and with no failed
 * attempts, under `*ret_number`. It must be there. Errors, with `error`: TROUPE_EINVAL (it never was a message),
 * TROUPE_ECORRUPT, TROUPE_ENOMEM. */
enum troupe_error troupe__machine_move_dead(struct troupe__machine *machine, uint64_t number, struct troupe_bytes row,
                                            bool retry, uint64_t *ret_number);

/* Something from outside that cannot become a message: kept as a dead letter with its reason. */
enum troupe_error troupe__machine_bury(struct troupe__machine *machine, const char *reason, struct troupe_bytes text);

/* What became of a job that an epoch said to begin: TROUPE_OK with its output, or an error with its reason. Its result
 * joins the open epoch; a job cancelled meanwhile has none. `job` stays the caller's. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_job_done(struct troupe__machine *machine, const struct troupe__job *job,
                                           enum troupe_error outcome, struct troupe_bytes output, const char *reason);

/* Deliver at most `budget` messages; `*ret_count` says how many. Errors are the machine's own: out of memory. */
enum troupe_error troupe__machine_run(struct troupe__machine *machine, size_t budget, size_t *ret_count);

/* Bytes in use that count for memory_max, about. */
static inline size_t troupe__machine_memory(const struct troupe__machine *machine)
{
    return troupe__actors_size(&machine->actors) + troupe__timers_size(&machine->timers) +
           troupe__ids_size(&machine->ids);
}

/* Whether messages should come from the backlog into inboxes now; the next run does that. */
bool troupe__machine_wants_mail(const struct troupe__machine *machine);

static inline bool troupe__machine_runnable(const struct troupe__machine *machine)
{
    return (!troupe__run_queue_empty(&machine->run_queue) || troupe__machine_wants_mail(machine)) &&
           !machine->stalled && !machine->crowded && machine->settling == 0;
}

/* Whether nothing should be taken in that can wait outside. */
static inline bool troupe__machine_full(const struct troupe__machine *machine)
{
    return machine->waiting > 0 &&
           (!troupe__backlog_empty(&machine->backlog) || troupe__machine_memory(machine) > machine->memory_max);
}

/* Bytes that the open epoch holds so far; what its seal adds is not in it. */
static inline size_t troupe__machine_epoch_size(const struct troupe__machine *machine)
{
    return machine->record.size + machine->egress.size + machine->outgoing_size;
}

/* Set a META row in the open epoch. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__machine_mark(struct troupe__machine *machine, const char *name, struct troupe_bytes value);

/* A META row as the open epoch has it; {NULL, 0} when there is none. Valid until it is set again. */
struct troupe_bytes troupe__machine_read_mark(const struct troupe__machine *machine, const char *name);

/* The egress records up to `number` are out for good: their rows go. `machine->unreleased` holds, in the form of an
 * epoch's `egress`, those that were not when the machine started: let them out again. */
void troupe__machine_released(struct troupe__machine *machine, uint64_t number);

/* Whether a busy open epoch is better not sealed yet, at the age of `age_ms`: too few deliveries in it for the messages
 * that wait, each of which would get a row now and lose it soon. So epochs of a node with many messages in flight are
 * longer, up to a limit, and most messages pass without a row. */
bool troupe__machine_unripe(const struct troupe__machine *machine, int64_t age_ms);

/* Whether the open epoch holds anything. */
bool troupe__machine_dirty(const struct troupe__machine *machine);

/* Read from the newest tables from now on, and let go of what need not be in memory: what they have, actors that were
 * not used for about a minute, over memory_max those not used for longest. Takes a bounded, short time. To be called
 * after each seal, and when troupe__machine_refresh_due says. Not while a handler runs. */
void troupe__machine_refresh(struct troupe__machine *machine);

/* Milliseconds until a refresh has something to do though nothing happens; -1 for never. */
int64_t troupe__machine_refresh_due(const struct troupe__machine *machine);

/* Close the open epoch into `*epoch`, whose jobs have been taken, and open the next one.
 * Errors: TROUPE_ENOMEM: stop. */
enum troupe_error troupe__machine_seal(struct troupe__machine *machine, struct troupe__epoch *epoch);

#endif
