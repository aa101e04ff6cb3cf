/* specs.h - what modules have declared of their data, kept beside it: types, values, messages, and their versions.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Each node has them as the META row "specs", and so has each snapshot of it: those of the module that ran last, and of
 * what earlier ones declared and it does not. Row form:
 *
 *   form, 1 (1); strings, name and version of the module; then items, sorted by type, what and name, each once:
 *   what (1: enum troupe__spec_what), string type, string name ("" for a type), kind (1: of a value), varint version
 *
 * Pure. */
#ifndef TROUPE_CORE_SPECS_H
#define TROUPE_CORE_SPECS_H

#include "core/buffer.h"
#include "core/troupe.h"

#define TROUPE__SPECS_ROW "specs"

enum troupe__spec_what { TROUPE__SPEC_TYPE, TROUPE__SPEC_VALUE, TROUPE__SPEC_MESSAGE };

struct troupe__spec {
    enum troupe__spec_what what;
    const char *type, *name; /* of the declaration, or within the specs; NUL-terminated */
    enum troupe_kind kind;
    uint32_t version;
};

struct troupe__specs { /* Zero bytes are none. */
    struct troupe__spec *items;
    size_t count, capacity;
    char *text; /* owned: all names that were read */
    const char *module, *module_version;
};

void troupe__specs_fini(struct troupe__specs *specs);

/* What a module declares; it must be a valid one, and outlive the specs. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__specs_of(const struct troupe_module *module, struct troupe__specs *ret);

/* Read a row; it need not stay. Errors: TROUPE_ECORRUPT, TROUPE_EVERSION (another form), TROUPE_ENOMEM. */
enum troupe_error troupe__specs_decode(struct troupe_bytes row, struct troupe__specs *ret);
void troupe__specs_encode(const struct troupe__specs *specs, struct troupe__buffer *buffer);

/* The item; NULL when there is none. */
const struct troupe__spec *troupe__specs_find(const struct troupe__specs *specs, enum troupe__spec_what what,
                                              const char *type, const char *name);

/* Add what `older` has and `specs` has not; `older` must outlive them. Errors: TROUPE_ENOMEM. */
enum troupe_error troupe__specs_keep(struct troupe__specs *specs, const struct troupe__specs *older);

/* Whether a module with `now` may be unable to read what one with `then` wrote: of which its data has to be asked. What
 * `now` does not declare at all is not read. */
bool troupe__specs_doubtful(const struct troupe__spec *then, const struct troupe__spec *now);

#endif
