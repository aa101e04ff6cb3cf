/* troupe.h - the public interface of Troupe: durable actors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * An actor is a handler and its state, named by an address `namespace/name/key`: the type is `namespace/name`, all
 * after the second slash is the key. It always exists, costs nothing while idle, and handles one message at a time.
 * All effects of a delivery (state, messages, timers, records) happen together, or none of them does, and each
 * happens once, whatever crashes in between.
 *
 * Errors: wrong use (a value that is not declared or of another kind, a name or key over its limit) and lack of memory
 * fail the delivery even if the handler does not look at what the call returned. What depends on data is the handler's
 * to see: after TROUPE_ENOTFOUND, TROUPE_ETOOBIG, TROUPE_EFULL or bytes of another shape it may go on, and nothing has
 * happened; unless a list or a clear had changed a part by then: that fails the delivery too.
 *
 * Threads: everything that takes a `struct troupe_context` may be called only inside the handler it was given to.
 * Memory: what a call returns by pointer stays valid until the handler returns, unless it says otherwise; what is
 * passed in is copied before the call returns. */
#ifndef TROUPE_H
#define TROUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TROUPE_VERSION "0.1.0"
#define TROUPE_ABI 1 /* A module built against another number is refused. */

enum {
    TROUPE_NAME_MAX = 63,           /* bytes of a type, value, message or egress name */
    TROUPE_KEY_MAX = 255,           /* bytes of an actor's key */
    TROUPE_BODY_MAX = 16 * 1048576, /* bytes of one body */
    TROUPE_VALUES_MAX = 64,         /* values of one type */
    TROUPE_ELEMENT_KEY_MAX = 118,   /* bytes of a key in a map */
    TROUPE_REPLY_MAX = 336,         /* bytes of a right to answer, see troupe_reply_later */
};

/* Each error is chosen by what the caller can do. */
#define TROUPE_ERRORS(X)                                                                                               \
    X(TROUPE_OK, "ok")                                                                                                 \
    X(TROUPE_EINVAL, "wrong argument")        /* fix the call */                                                       \
    X(TROUPE_ENOTFOUND, "not found")          /* it is not there */                                                    \
    X(TROUPE_ETYPE, "wrong type")             /* a value or body is of another type than asked for */                  \
    X(TROUPE_ETOOBIG, "over the limit")       /* send less, or raise the limit */                                      \
    X(TROUPE_EFULL, "full")                   /* try later */                                                          \
    X(TROUPE_EFAILED, "handler failed")       /* a handler's own failure: retried by its type's policy */              \
    X(TROUPE_EREJECTED, "rejected")           /* a handler's final refusal: dead letter at once */                     \
    X(TROUPE_EBUSY, "in use")                 /* another process owns it */                                            \
    X(TROUPE_ENOMEM, "out of memory")         /* give up, or retry with less */                                        \
    X(TROUPE_EIO, "input/output error")       /* the disk or file system refused: see the text */                      \
    X(TROUPE_ENOSPACE, "no space left")       /* free space, then start again: nothing acknowledged is lost */         \
    X(TROUPE_ECORRUPT, "corrupt data")        /* run `troupe doctor`, restore */                                       \
    X(TROUPE_EVERSION, "unsupported version") /* use the version that wrote it */                                      \
    X(TROUPE_ETIMEOUT, "timed out")           /* it may still happen: repeat it with the same id */                    \
    X(TROUPE_ECLOSED, "closed")               /* whether it happened is not known: repeat it with the same id */

#define TROUPE_ERROR_ENUM(name, text) name,
enum troupe_error { TROUPE_ERRORS(TROUPE_ERROR_ENUM) TROUPE_ERROR_COUNT };
#undef TROUPE_ERROR_ENUM

/* The short English text of `error`; static. */
const char *troupe_error_text(enum troupe_error error);

/* Bytes that somebody else owns. */
struct troupe_bytes {
    const void *data;
    size_t size;
};

/* Where a message goes. Type and key are NUL-terminated; a `{tag}` in the key makes only the tag decide the slot. */
struct troupe_address {
    const char *type;
    const char *key;
};

static inline struct troupe_address troupe_to(const char *type, const char *key)
{
    struct troupe_address address = {type, key};
    return address;
}

struct troupe_context;
struct troupe_job_type;

/* ---- messages ---------------------------------------------------------------------------------------------------- */

struct troupe_message {
    const char *type;           /* the message's name, e.g. "deposit" */
    struct troupe_address from; /* type and key are "" when it came from outside */
    struct troupe_bytes body;   /* msgpack by convention; may be empty */
    uint64_t correlation;       /* of an ask, its answer or its timeout; else 0. An ask from outside has one too */
    uint32_t attempt;           /* 1 at the first delivery, 2 after a first failure, ... */
    uint32_t job_attempts;      /* of a job's result: how often the job was begun, see troupe_job_attempt; else 0 */
};

struct troupe_message_type;

/* Make a body of an older version into one of the declared version; as troupe_migrate_fn, below. */
typedef enum troupe_error (*troupe_migrate_message_fn)(struct troupe_context *ctx,
                                                       const struct troupe_message_type *type, uint32_t version,
                                                       struct troupe_bytes old, struct troupe_bytes *ret);

/* A message that an actor type takes, of which the body has changed: messages wait, fly and are delayed while a module
 * is replaced by a newer one. Static storage, listed in its type's `messages`; only those with a version need be. A
 * message is of the version that the module has declared which took it in or sent it; one of an older version is passed
 * to `migrate` each time before it is handled. One of a newer version becomes a dead letter that says so. */
struct troupe_message_type {
    const char *name;
    uint32_t version;                  /* at most 65,535 */
    troupe_migrate_message_fn migrate; /* goes with a version over 0 */
};

/* Handle one message. TROUPE_OK keeps all effects. Any other result drops them all: TROUPE_EREJECTED makes the message
 * a dead letter at once, every other one is tried again by the policy of the type, and then becomes a dead letter. */
typedef enum troupe_error (*troupe_handler_fn)(struct troupe_context *ctx, const struct troupe_message *message);

/* ---- state ------------------------------------------------------------------------------------------------------- */

enum troupe_kind {
    TROUPE_INT,
    TROUPE_DOUBLE,
    TROUPE_BOOL,
    TROUPE_STRING,
    TROUPE_BYTES,
    TROUPE_PACKED, /* one msgpack value */
    TROUPE_MAP,    /* keys and values, in the order of the keys' bytes */
    TROUPE_LIST,
};

enum troupe_ttl { TROUPE_TTL_AFTER_WRITE, TROUPE_TTL_AFTER_READ };

struct troupe_value;

/* Make a value of an older version into one of the declared version. `old` is what was stored: msgpack of a single
 * value (a TROUPE_BYTES as bin), or the bytes of an element. `*ret`, with `ret->data` from troupe_pack or static, is
 * the same in the declared version and kind. It may call troupe_pack, troupe_unpack and troupe_fail, nothing else,
 * and may be called by several threads at once. Any other result than TROUPE_OK fails the delivery. */
typedef enum troupe_error (*troupe_migrate_fn)(struct troupe_context *ctx, const struct troupe_value *value,
                                               uint32_t version, struct troupe_bytes old, struct troupe_bytes *ret);

/* One named value of an actor type; static storage, listed in its type's `values`. Name and kind must be set; what is
 * 0 is switched off, so set members by name: `{.name = "count", .kind = TROUPE_INT}`.
 *
 * A value that is stored with an older `version` is passed to `migrate` when a handler first reads it, and stored
 * anew, as an effect of that delivery. An element of a map or list likewise, when it is got; a walk over elements
 * migrates what it meets each time and stores nothing. A newer version fails the delivery (TROUPE_EVERSION).
 *
 * A value expires `ttl_ms` (1 ms to ten years) after it was set or, with TROUPE_TTL_AFTER_READ, read; from then on it
 * is not found, and some time later it is removed from the disk. Each element of a map expires by itself (a walk is no
 * reading of it); a list does so as a whole. A read prolongs only when an eighth of the time has gone, so that not
 * every read is a write: what expires after reading may do so by that much early. Time is troupe_now. What was stored
 * before the type declared a `ttl_ms` gets its time when it is next set, or, after read, got. */
struct troupe_value {
    const char *name;
    enum troupe_kind kind;
    uint32_t version;
    troupe_migrate_fn migrate; /* goes with a version over 0 */
    int64_t ttl_ms;            /* 0: never expires */
    enum troupe_ttl ttl;
};

/* Read a value. Errors: TROUPE_ENOTFOUND (never set, or cleared), TROUPE_EINVAL (not a value of this actor's type),
 * TROUPE_ETYPE (declared or stored as another kind), TROUPE_EVERSION, what `migrate` returned, TROUPE_EIO and
 * TROUPE_ECORRUPT from the disk. `*ret` is untouched on failure. */
enum troupe_error troupe_get_int(struct troupe_context *ctx, const struct troupe_value *value, int64_t *ret);
enum troupe_error troupe_get_double(struct troupe_context *ctx, const struct troupe_value *value, double *ret);
enum troupe_error troupe_get_bool(struct troupe_context *ctx, const struct troupe_value *value, bool *ret);
/* For TROUPE_STRING, TROUPE_BYTES and TROUPE_PACKED; a string is followed by a NUL byte that is not counted. The bytes
 * are valid until the value is set or cleared, or the handler returns. */
enum troupe_error troupe_get_bytes(struct troupe_context *ctx, const struct troupe_value *value,
                                   struct troupe_bytes *ret);

/* Set a value. Errors: TROUPE_EINVAL, TROUPE_ETYPE, TROUPE_ETOOBIG, TROUPE_ENOMEM. */
enum troupe_error troupe_set_int(struct troupe_context *ctx, const struct troupe_value *value, int64_t number);
enum troupe_error troupe_set_double(struct troupe_context *ctx, const struct troupe_value *value, double number);
enum troupe_error troupe_set_bool(struct troupe_context *ctx, const struct troupe_value *value, bool truth);
enum troupe_error troupe_set_bytes(struct troupe_context *ctx, const struct troupe_value *value,
                                   struct troupe_bytes bytes);

/* Remove a value, of a map or list all elements; TROUPE_OK too when it was not there. What a large one held is removed
 * from the disk in the background. Errors: TROUPE_EINVAL, TROUPE_ENOMEM; of maps and lists also those of reading. */
enum troupe_error troupe_clear(struct troupe_context *ctx, const struct troupe_value *value);

/* Maps and lists hold any number of elements, each of which is read and stored by itself; what they hold is never
 * loaded whole. An element is any bytes, msgpack by convention, of at most TROUPE_BODY_MAX. Errors of all: those of
 * reading and setting a value (TROUPE_ETYPE: declared as another kind); TROUPE_ENOTFOUND: there is no such element.
 * Bytes and keys that are returned are followed by a NUL byte that is not counted. */

/* A key has 1 to TROUPE_ELEMENT_KEY_MAX bytes, else TROUPE_EINVAL. */
enum troupe_error troupe_map_get(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes *ret);
enum troupe_error troupe_map_set(struct troupe_context *ctx, const struct troupe_value *map, struct troupe_bytes key,
                                 struct troupe_bytes bytes);
/* TROUPE_OK too when it was not there. */
enum troupe_error troupe_map_remove(struct troupe_context *ctx, const struct troupe_value *map,
                                    struct troupe_bytes key);

/* The bytes of a C string without its NUL, for keys. */
static inline struct troupe_bytes troupe_string(const char *string)
{
    struct troupe_bytes bytes = {string, 0};
    while (string[bytes.size]) {
        bytes.size++;
    }
    return bytes;
}

/* A walk over the elements with from <= key < to, the last one first if `backward`; no bytes are no bound. Set these
 * members, zero the rest:
 *     struct troupe_map_walk walk = {.from = troupe_string("2024-")};
 *     while ((error = troupe_map_next(ctx, &map, &walk, &key, &bytes)) == TROUPE_OK) { ... }
 * Stop whenever you like; the map may be changed meanwhile, and what lies ahead is met as it then is. A walk belongs to
 * one map and one handler call. */
struct troupe_map_walk {
    struct troupe_bytes from, to;
    bool backward;
    struct troupe__batch *batch; /* private; NULL at the beginning */
};

/* The next element; TROUPE_ENOTFOUND at the end. Key and bytes are valid until the next call with this walk, or until
 * the element is changed. */
enum troupe_error troupe_map_next(struct troupe_context *ctx, const struct troupe_value *map,
                                  struct troupe_map_walk *walk, struct troupe_bytes *ret_key,
                                  struct troupe_bytes *ret_bytes);

/* Lists. Positions count from 0, the front. */
enum troupe_error troupe_list_count(struct troupe_context *ctx, const struct troupe_value *list, uint64_t *ret);
enum troupe_error troupe_list_push_front(struct troupe_context *ctx, const struct troupe_value *list,
                                         struct troupe_bytes bytes);
enum troupe_error troupe_list_push_back(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes bytes);
/* `ret` may be NULL. */
enum troupe_error troupe_list_pop_front(struct troupe_context *ctx, const struct troupe_value *list,
                                        struct troupe_bytes *ret);
enum troupe_error troupe_list_pop_back(struct troupe_context *ctx, const struct troupe_value *list,
                                       struct troupe_bytes *ret);
enum troupe_error troupe_list_get(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes *ret);
/* Replace an element. TROUPE_ENOTFOUND when there is none at `position`. */
enum troupe_error troupe_list_set(struct troupe_context *ctx, const struct troupe_value *list, uint64_t position,
                                  struct troupe_bytes bytes);

/* A walk over the positions from <= position < to; 0 as `to` is no bound. Otherwise as of a map; do not push to or pop
 * from the front meanwhile, which moves positions. */
struct troupe_list_walk {
    uint64_t from, to;
    bool backward;
    struct troupe__batch *batch;
};
enum troupe_error troupe_list_next(struct troupe_context *ctx, const struct troupe_value *list,
                                   struct troupe_list_walk *walk, uint64_t *ret_position,
                                   struct troupe_bytes *ret_bytes);

/* ---- effects ----------------------------------------------------------------------------------------------------- */

/* Send a message. It leaves when the handler succeeds; between two actors messages arrive in the order sent.
 * Errors: TROUPE_EINVAL (a name or key is empty or too long), TROUPE_ETOOBIG (body over TROUPE_BODY_MAX, or the
 * delivery's effects over 64 MiB), TROUPE_ENOMEM. */
enum troupe_error troupe_send(struct troupe_context *ctx, struct troupe_address to, const char *type,
                              struct troupe_bytes body);

/* Send after `delay_ms` (0 to 10 years, in milliseconds of wall time). `*ret_timer` (may be NULL) cancels it.
 * Errors: as troupe_send; TROUPE_EINVAL for a negative delay; TROUPE_EFULL when millions of delayed messages and asks
 * fill a quarter of the node's memory, at 40 bytes each: return it to be tried again later. */
enum troupe_error troupe_send_after(struct troupe_context *ctx, int64_t delay_ms, struct troupe_address to,
                                    const char *type, struct troupe_bytes body, uint64_t *ret_timer);

/* Cancel a delayed message, an ask or a job of this actor; another one may live on another node, which knows nothing of
 * it. Errors: TROUPE_ENOTFOUND when it has left already (its answer or result has come), was cancelled, or is 0. */
enum troupe_error troupe_cancel(struct troupe_context *ctx, uint64_t timer);

/* Answer the message being handled. The answer to a troupe_ask carries its correlation, and is dropped when it comes
 * after the timeout. An ask from outside has one answer, the first; later ones are dropped. Errors: as troupe_send;
 * TROUPE_ENOTFOUND when the message was sent from outside, not asked. */
enum troupe_error troupe_reply(struct troupe_context *ctx, const char *type, struct troupe_bytes body);

/* Answer the message being handled later, or let another actor do it. `*ret` is the right to answer: msgpack of at most
 * TROUPE_REPLY_MAX bytes, to be kept in a value or sent in a body (`m` of troupe_pack), on this node or another, for as
 * long as you like; it survives crashes. This handler then may return without having replied. Whoever has it answers
 * with troupe_reply_to. An ask has one answer, the first that comes before its timeout; later ones are dropped and
 * counted (`late_answers` of `troupe stats`); without any, the timeout comes. An ask from outside that has an id can be
 * answered as long as the id is known, 24 hours, also after a crash; one without, while the one who asked waits.
 * Errors: as troupe_reply. */
enum troupe_error troupe_reply_later(struct troupe_context *ctx, struct troupe_bytes *ret);

/* Answer what `right` was got for, as troupe_reply does. `from` of the answer is the actor that answers.
 * Errors: as troupe_send; TROUPE_ETYPE when `right` is not from troupe_reply_later. */
enum troupe_error troupe_reply_to(struct troupe_context *ctx, struct troupe_bytes right, const char *type,
                                  struct troupe_bytes body);

/* The name of the message that comes instead of an answer. */
#define TROUPE_TIMEOUT "troupe.timeout"

/* Send and expect an answer: exactly one message with `*ret_correlation` comes back to this actor, either what the
 * other one replies or, `timeout_ms` (1 to 10 years, in milliseconds) later, an empty TROUPE_TIMEOUT from itself. Other
 * messages are handled meanwhile. troupe_cancel of the correlation gives up: nothing comes. `ret_correlation` may be
 * NULL. Errors: as troupe_send_after; TROUPE_EINVAL for a timeout out of bounds. */
enum troupe_error troupe_ask(struct troupe_context *ctx, struct troupe_address to, const char *type,
                             struct troupe_bytes body, int64_t timeout_ms, uint64_t *ret_correlation);

/* Put a record out on an egress: exactly once, numbered from 1 per egress. Errors: as troupe_send. */
enum troupe_error troupe_emit(struct troupe_context *ctx, const char *egress, const char *key,
                              struct troupe_bytes body);

/* Begin a job, blocking work on another thread (see jobs below). Its result comes back to this actor as one message:
 * named `result_name` with the job's output as its body, or named TROUPE_JOB_FAILED with a body {"job": its name,
 * "reason": text}. Both carry `*ret_id` (may be NULL) as correlation. troupe_cancel of it gives up: nothing comes.
 * Errors: TROUPE_EINVAL (not a job of this actor's type; a bad name), TROUPE_ETOOBIG, TROUPE_ENOMEM as troupe_send;
 * TROUPE_EFULL (65,536 jobs or 256 MiB of input wait on this node: return it to be tried again later). */
enum troupe_error troupe_job(struct troupe_context *ctx, const struct troupe_job_type *job, struct troupe_bytes input,
                             const char *result_name, uint64_t *ret_id);

/* The name of the message that comes instead of a job's result. */
#define TROUPE_JOB_FAILED "troupe.job-failed"

/* Milliseconds of wall time since 1970, the same throughout one delivery. */
int64_t troupe_now(const struct troupe_context *ctx);

/* A number that depends on the actor, the message and the module alone; each call gives the next one. */
uint64_t troupe_random(struct troupe_context *ctx);

/* The address of the actor that handles the message. */
struct troupe_address troupe_self(const struct troupe_context *ctx);

/* Say why the handler fails (kept with the dead letter and logged), and return `error`, for
 * `return troupe_fail(ctx, TROUPE_EREJECTED, "no account %s", key);` */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
enum troupe_error
troupe_fail(struct troupe_context *ctx, enum troupe_error error, const char *format, ...);

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

/* Pack arguments into msgpack by a format, into memory that lives until the handler returns:
 *   {   }  a map: keys as const char *, each followed by its value     [   ]  an array
 *   i  int64_t     u  uint64_t     f  double     b  int (0 or not)     n  nil (no argument)
 *   s  const char * (NUL-terminated)     z  struct troupe_bytes, as bin
 *   m  struct troupe_bytes that are msgpack already
 * Spaces, commas and colons are ignored; a key has the letter s: troupe_pack(ctx, "{s:i, s:s}", "amount", (int64_t)5,
 * "to", "bob"). A plain int argument for `i` is undefined behaviour: cast it.
 * Returns {NULL, 0} on a wrong format, too deep nesting (over 16) or lack of memory; the delivery then fails. */
struct troupe_bytes troupe_pack(struct troupe_context *ctx, const char *format, ...);

/* Read a body by the same formats, checking types: i int64_t *, u uint64_t *, f double *, b bool *, s const char **
 * (NUL-terminated copy that lives until the handler returns), z struct troupe_bytes *, m struct troupe_bytes * (any one
 * value, still packed), n nothing. In a map the keys are given, may stand in any order, others are ignored; `?` after
 * the key's s makes it optional, its target stays as it was. An array must have as many elements as the format.
 * Errors: TROUPE_ETYPE (the body is of another shape; the text names the key), TROUPE_EINVAL (the format is wrong),
 * TROUPE_ENOMEM. Targets before the failure may have been written. */
enum troupe_error troupe_unpack(struct troupe_context *ctx, struct troupe_bytes body, const char *format, ...);

/* ---- modules ----------------------------------------------------------------------------------------------------- */

/* When a handler fails. Zero fields take the defaults: 3 attempts, 100 ms, doubled up to 60,000 ms. While an actor
 * waits for its next attempt its later messages wait too, in order; other actors go on. */
struct troupe_retry {
    uint32_t attempts; /* at most 65,535 */
    uint32_t backoff_ms;
    uint32_t backoff_max_ms;
};

struct troupe_type {
    const char *name; /* namespace/name */
    troupe_handler_fn handler;
    const struct troupe_value *const *values; /* NULL-terminated; may be NULL */
    struct troupe_retry retry;
    const struct troupe_job_type *const *jobs;         /* NULL-terminated; may be NULL */
    const struct troupe_message_type *const *messages; /* NULL-terminated; may be NULL */
};

struct troupe_view;
struct troupe_report;

/* Look through a consistent cut of the whole troupe and report what should not be: see checks below. TROUPE_OK: all of
 * it was looked at, whatever was reported. */
typedef enum troupe_error (*troupe_check_fn)(struct troupe_view *view, struct troupe_report *report);

struct troupe_module {
    uint32_t abi; /* TROUPE_ABI */
    const char *name;
    const char *version;
    const struct troupe_type *types;
    size_t type_count;
    troupe_check_fn check; /* may be NULL */
};

/* A module is a shared object that exports `const struct troupe_module troupe_module`. */

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

/* A job is what a handler must not do: call another service, read a file, compute for seconds. It runs on a worker
 * thread, beside handlers and other jobs, and sees only its input; it has no access to actors. It begins after the
 * delivery that asked for it is durable. Its result is taken once: the message and the end of the job are one effect.
 * The work itself may be done again: a job that was begun when the node ended is begun anew by the next start, and
 * troupe_job_attempt says so. What it does to the outside should therefore be harmless when repeated; troupe_job_id is
 * a number to make it so. A job that crashes the process three times fails with that as its reason. */
struct troupe_job_context;

/* Do the work. TROUPE_OK: what was given to troupe_job_return is the result, nothing if nothing was. Any other result
 * is a failure: it is tried again by the policy of the job; after the last attempt, and after TROUPE_EREJECTED at once,
 * TROUPE_JOB_FAILED is sent. Several may run at once, also of one actor. */
typedef enum troupe_error (*troupe_job_fn)(struct troupe_job_context *job, struct troupe_bytes input);

/* One kind of work of an actor type; static storage, listed in its type's `jobs`. A crash or restart of the node does
 * not count as an attempt of `retry`. */
struct troupe_job_type {
    const char *name;
    troupe_job_fn run;
    struct troupe_retry retry;
};

/* 1, or more when the job was begun before: it failed then, or the node ended before its result was durable. */
uint32_t troupe_job_attempt(const struct troupe_job_context *job);

/* The job's id, the one that troupe_job gave: the same in each attempt, and of no other job of this troupe. */
uint64_t troupe_job_id(const struct troupe_job_context *job);

/* The address of the actor that asked for the job; valid while the job runs. */
struct troupe_address troupe_job_actor(const struct troupe_job_context *job);

/* Whether nobody waits for the result any more: the actor cancelled the job, or the node stops. For long work to look
 * at now and then, and return an error: that is dropped or, if the node stops, the job is run again by its next start.
 * A node that stops waits for its jobs for five seconds. */
bool troupe_job_cancelled(const struct troupe_job_context *job);

/* Set the output; the last call counts. troupe_job_pack packs it by a format, as troupe_pack does.
 * Errors: TROUPE_ETOOBIG (over TROUPE_BODY_MAX), TROUPE_EINVAL (the format), TROUPE_ENOMEM. Each makes the job fail. */
enum troupe_error troupe_job_return(struct troupe_job_context *job, struct troupe_bytes output);
enum troupe_error troupe_job_pack(struct troupe_job_context *job, const char *format, ...);

/* Read the input, or any body, as troupe_unpack does; copied strings live while the job runs. */
enum troupe_error troupe_job_unpack(struct troupe_job_context *job, struct troupe_bytes body, const char *format, ...);

/* Say why the job fails, and return `error`. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
enum troupe_error
troupe_job_fail(struct troupe_job_context *job, enum troupe_error error, const char *format, ...);

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* What holds of all actors together, at every moment: that money is neither made nor lost, that every order has its
 * stock. No actor can see that, a module's `check` can: it is given a cut of the troupe, all nodes at one moment that
 * could have been, with every message that waits or is on its way, and looks for what should not be. It runs over
 * snapshots (`troupe snapshot verify SNAPSHOT --module M.so`) and in the simulator, never inside a node, and changes
 * nothing. It may be called by several threads at once, with a view each.
 *
 * All functions of a view: what they return by pointer is valid until the next call of troupe_view_next_actor or
 * troupe_view_next_message. Errors, which the check should return: TROUPE_ECORRUPT and TROUPE_EIO from the snapshot,
 * TROUPE_EVERSION, what a `migrate` returned, TROUPE_ENOMEM. */

/* Something is wrong; printf-like. Nothing else of the check's results counts. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void troupe_report_fault(struct troupe_report *report, const char *format, ...);

/* The next actor of `type` (NULL: of any) that has values, node by node. TROUPE_ENOTFOUND: there is none, and the next
 * call begins anew. So does one for another type. What the actor has is in memory whole. */
enum troupe_error troupe_view_next_actor(struct troupe_view *view, const char *type, struct troupe_address *ret);

/* A value of that actor, as its handler would read it: of the declared kind, migrated, TROUPE_ENOTFOUND when it was
 * never set or has expired. Errors: those of all; TROUPE_ETYPE, TROUPE_EINVAL (no actor is at hand). */
enum troupe_error troupe_view_int(struct troupe_view *view, const struct troupe_value *value, int64_t *ret);
enum troupe_error troupe_view_double(struct troupe_view *view, const struct troupe_value *value, double *ret);
enum troupe_error troupe_view_bool(struct troupe_view *view, const struct troupe_value *value, bool *ret);
enum troupe_error troupe_view_bytes(struct troupe_view *view, const struct troupe_value *value,
                                    struct troupe_bytes *ret);

/* The next element of a map or list of that actor. TROUPE_ENOTFOUND: there is none, and the next call begins anew. So
 * does one for another value. */
enum troupe_error troupe_view_map_next(struct troupe_view *view, const struct troupe_value *map,
                                       struct troupe_bytes *ret_key, struct troupe_bytes *ret_bytes);
enum troupe_error troupe_view_list_next(struct troupe_view *view, const struct troupe_value *list,
                                        struct troupe_bytes *ret_bytes);

enum troupe_place {
    TROUPE_IN_MAILBOX, /* waits for its actor */
    TROUPE_IN_FLIGHT,  /* on its way to the actor's node */
    TROUPE_IN_TIMER,   /* delayed until due_ms */
    TROUPE_IN_JOB,     /* no message yet: a job of actor `to`; its name and its input as body */
    TROUPE_IN_DEAD,    /* a dead letter, for `reason` */
};

/* A message that has not been handled. */
struct troupe_view_message {
    enum troupe_place place;
    struct troupe_address to;
    struct troupe_message message; /* `attempt` is the number of the next one */
    int64_t due_ms;
    const char *reason;
};

/* The next one, node by node, its body migrated. TROUPE_ENOTFOUND: there is none, and the next call begins anew. Dead
 * letters that never were messages are not among them. */
enum troupe_error troupe_view_next_message(struct troupe_view *view, struct troupe_view_message *ret);

/* Read a body as troupe_unpack does. */
enum troupe_error troupe_view_unpack(struct troupe_view *view, struct troupe_bytes body, const char *format, ...);

/* ---- a node ------------------------------------------------------------------------------------------------------ */

enum troupe_level { TROUPE_DEBUG, TROUPE_INFO, TROUPE_WARNING, TROUPE_ERROR };

/* Receives one event; `text` is one line without its end. Called on the node's thread. */
typedef void (*troupe_log_fn)(void *context, enum troupe_level level, const char *text);

/* A node inside a program: open it, run it (or let it run on the program's own libev loop), send into it, get its
 * records by callback, close it. samples/embed shows all of it.
 *
 * Threads: a node belongs to the thread that opened it; every function here and every callback is of that thread (the
 * node has threads of its own inside, which call nobody). Several nodes may run in one process, each with its own
 * directory. Callbacks may call troupe_node_send, troupe_node_ask, troupe_node_stop and nothing else of the node they
 * come from; never from inside a handler. Do not fork while a node is open. */
struct troupe_node;
struct ev_loop; /* of libev, ev.h */

enum troupe_durability {
    TROUPE_DISK,    /* an epoch survives the loss of power */
    TROUPE_PROCESS, /* an epoch survives the process's death only: no disk sync */
};

enum troupe_until {
    TROUPE_UNTIL_STOPPED,
    TROUPE_UNTIL_IDLE,        /* the input is read and no message waits; delayed ones may */
    TROUPE_UNTIL_IDLE_TIMERS, /* nor any delayed one */
};

/* A record that a handler emitted. Pointers are valid during the callback. */
struct troupe_record {
    const char *egress, *key; /* NUL-terminated */
    uint64_t sequence;        /* from 1 per egress, without gaps */
    struct troupe_bytes body;
};

/* Called once a record is durable, in order. It counts as taken when the callback has returned; that is on disk a
 * little later, so after a crash some come again, with the same sequence numbers. */
typedef void (*troupe_record_fn)(void *context, const struct troupe_record *record);

/* Called exactly once for a call that returned TROUPE_OK, not before it returned: TROUPE_OK when it is durable,
 * TROUPE_ECLOSED when the node ended before that was known. */
typedef void (*troupe_done_fn)(void *context, enum troupe_error result);

/* What became of an ask. Pointers are valid during the callback. */
struct troupe_answer {
    enum troupe_error result; /* TROUPE_OK: type and body are what the handler replied; else the text says why: ... */
    const char *type; /* ... TROUPE_ENOTFOUND (it replied nothing), TROUPE_ETIMEOUT, TROUPE_ECLOSED, or the ... */
    struct troupe_bytes body; /* ... failure of a message that became a dead letter */
    const char *text;
};

/* Called exactly once for a call that returned TROUPE_OK, not before it returned, once the answer is durable. */
typedef void (*troupe_answer_fn)(void *context, const struct troupe_answer *answer);

/* Zero fields take what is said here. Strings and the module are the caller's and must outlive the node. */
struct troupe_node_options {
    const struct troupe_module *module; /* linked in, or from dlsym; needed */
    const char *data;                   /* the node's directory, made if missing; needed */
    enum troupe_durability durability;
    const char *input;         /* JSON lines: a path or "-"; NULL: none */
    const char *output;        /* where records go as JSON lines: a path or "-"; NULL: nowhere */
    const char *const *listen; /* endpoints for clients, ipc://PATH or tcp://HOST:PORT; docs/protocol.md */
    size_t listen_count;       /* at most 8 */
    bool insecure_listen;      /* allow endpoints that other machines reach: nothing is encrypted or authenticated */
    enum troupe_until until;
    int64_t slow_ms;  /* a job that runs longer is logged; 0: 10,000 */
    unsigned workers; /* threads for jobs, at most 256, started when needed; 0: as many as cores */
    size_t memory;    /* bytes it may use, about; beyond it what the store has leaves memory; 0: half of the machine */
    size_t backlog;   /* bytes that wait on disk for another node before the node takes in nothing more from outside; at
                         four times that it handles nothing more; 0: 256 MiB */
    bool keep_journal;    /* all that happened stays on disk, so that `troupe restore --at` goes back to any second */
    bool stop_on_signals; /* SIGINT and SIGTERM stop it as troupe_node_stop does; one node per process */
    struct ev_loop *loop; /* the program's; NULL: the node has its own, and only troupe_node_run turns it */
    troupe_log_fn log;    /* NULL: nothing is said */
    void *log_context;
    troupe_record_fn on_record; /* NULL: none */
    void *record_context;
    /* The node has ended: it is idle as `until` says, was stopped, or failed (troupe_node_error has the text). Only
     * troupe_node_close may follow, not inside the callback. NULL: nobody is told. */
    void (*on_end)(void *context, enum troupe_error result);
    void *end_context;
};

/* Open a node; it goes on where its directory's last durable epoch ended. With a `loop` it runs from the next turn of
 * that loop on. Errors, with a text in `error`: TROUPE_EBUSY (another process has the directory), TROUPE_EINVAL
 * (module, input or output: see the text), TROUPE_EVERSION (of the formats, or the module cannot read a value or
 * message that is there: nothing in the directory was changed), TROUPE_ECORRUPT, TROUPE_EIO, TROUPE_ENOSPACE,
 * TROUPE_ENOMEM. Nothing is left to close then. */
enum troupe_error troupe_node_open(const struct troupe_node_options *options, struct troupe_node **ret, char *error,
                                   size_t error_size);

/* Turn the loop until the node has ended. With the node's own loop this is the way to run it; with the program's it
 * is the same as ev_run until on_end. Errors: what made it end. */
enum troupe_error troupe_node_run(struct troupe_node *node);

/* Ask the node to end: it delivers no more; what was delivered becomes durable and its records go out. */
void troupe_node_stop(struct troupe_node *node);

/* Send a message from outside. With an `id` (NULL: none) a repeat of the same id to the same actor within 24 hours
 * does nothing more than be acknowledged. `done` (may be NULL) is called once the message is durable.
 * Errors: TROUPE_EFULL (too much waits: send again after a `done`), TROUPE_EINVAL, TROUPE_ETOOBIG, TROUPE_ECLOSED (the
 * node has ended), each with its text in troupe_node_error; TROUPE_ENOMEM. */
enum troupe_error troupe_node_send(struct troupe_node *node, const char *id, struct troupe_address to, const char *type,
                                   struct troupe_bytes body, troupe_done_fn done, void *context);

/* Send a message whose handler's troupe_reply is the answer. After `timeout_ms` (1 to 3,600,000) the answer is
 * TROUPE_ETIMEOUT, and the message may still be handled. With an `id` asking again, also after a crash or a timeout,
 * gets the same one answer and the handler runs once; it is remembered for 24 hours. Errors: as troupe_node_send;
 * TROUPE_EINVAL too for a timeout out of bounds, or an id that was used with troupe_node_send. */
enum troupe_error troupe_node_ask(struct troupe_node *node, const char *id, struct troupe_address to, const char *type,
                                  struct troupe_bytes body, int64_t timeout_ms, troupe_answer_fn answer, void *context);

/* The text of the last failure; "" when there was none. Valid until the next call. */
const char *troupe_node_error(const struct troupe_node *node);

/* Stop it if it has not ended, wait until all that was delivered is durable and out, and free it. NULL is fine.
 * Errors: what made it fail; what was acknowledged before is safe all the same. */
enum troupe_error troupe_node_close(struct troupe_node *node);

#ifdef __cplusplus
}
#endif
#endif
