/* upgrade.h - looks whether a module can read what another one, or an older version of it, has written.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TROUPE_RUNTIME_SNAPSHOT_UPGRADE_H
#define TROUPE_RUNTIME_SNAPSHOT_UPGRADE_H

#include "core/specs.h"
#include "runtime/snapshot/cut.h"

enum troupe__upgrade_problem {
    TROUPE__UPGRADE_TYPE_GONE,    /* actors have values, or messages or jobs wait, of a type not declared */
    TROUPE__UPGRADE_VALUE_GONE,   /* a value is stored that its type does not declare */
    TROUPE__UPGRADE_JOB_GONE,     /* a job waits that its type does not declare */
    TROUPE__UPGRADE_KIND_CHANGED, /* stored as another kind than declared, or migrate makes another one of it */
    TROUPE__UPGRADE_NEWER,        /* of a newer version than declared */
    TROUPE__UPGRADE_FAILS,        /* migrate fails */
    TROUPE__UPGRADE_MALFORMED,    /* the row is damaged */
    TROUPE__UPGRADE_PROBLEM_COUNT
};

/* What is wrong with one value, message type, job type or actor type. */
struct troupe__upgrade_fault {
    enum troupe__upgrade_problem problem;
    bool is_message;
    char type[TROUPE_NAME_MAX + 1], name[TROUPE_NAME_MAX + 1];
    uint64_t count; /* of rows */
    /* The first of them. */
    uint64_t order; /* among all rows */
    size_t node;
    enum troupe__table table;
    char key[TROUPE_KEY_MAX + 1];               /* of the actor */
    unsigned char element[TROUPE__ROW_KEY_MAX]; /* of a map or list */
    size_t element_size;
    char text[320]; /* why */
};

struct troupe__upgrade {
    struct troupe__upgrade_fault *faults; /* by type and name */
    size_t fault_count;
    uint64_t values, messages, migrated; /* rows looked at; of them migrated without fault */
};

struct troupe__upgrade_options {
    bool migrate;     /* run the migrations; else only kinds and versions are compared */
    unsigned workers; /* threads; 0: as many as cores */
};

/* The short name of a problem, as "value-gone". */
const char *troupe__upgrade_problem_name(enum troupe__upgrade_problem problem);

/* What happens, in a sentence, into `text`. */
void troupe__upgrade_describe(const struct troupe__cut *cut, const struct troupe__upgrade_fault *fault, char *text,
                              size_t text_size);

void troupe__upgrade_fini(struct troupe__upgrade *upgrade);

/* Compare a module with all rows of a cut that is ready. Errors, with a text: TROUPE_EINVAL (the module), those of
 * reading. `ret` is to be finished on TROUPE_OK. */
enum troupe_error troupe__upgrade_check(const struct troupe_module *module, const struct troupe__cut *cut,
                                        const struct troupe__upgrade_options *options, struct troupe__upgrade *ret,
                                        char *error, size_t error_size);

#endif
