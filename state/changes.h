/* changes.h - the last change of each row that a list of records makes, in the order of the rows.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Records (core/store.h) are pointed into, not copied: their memory stays where it is until the changes are cleared.
 * There may be millions, in more memory than any cache holds: what is needed next is fetched ahead. Not thread-safe. */
#ifndef TROUPE_STATE_CHANGES_H
#define TROUPE_STATE_CHANGES_H

#include "core/store.h"
#include "state/strip.h"

struct troupe__changes_item;
struct troupe__changes_slot;

struct troupe__changes { /* Zero bytes are none. */
    struct troupe__changes_item *items;
    struct troupe__changes_slot *slots;
    size_t count, item_count, capacity, slot_count;
    size_t other_count;                   /* of other tables than STATE, without those that came and went */
    uint64_t bounds[TROUPE__TABLE_COUNT]; /* see troupe__changes_bound */
    /* Mail is numbered: that of numbers behind the tables' last, and that of those before, as far as it fits. Only when
     * the bound of MAIL is known. */
    struct troupe__strip new_mail, old_mail;
    uint64_t mail_new; /* the first number behind the tables' last */
    bool mail_bounded;
};

void troupe__changes_free(struct troupe__changes *changes);

/* Forget them; memory of a load that is long over is given back. */
void troupe__changes_clear(struct troupe__changes *changes);

/* Whether they have more than a little memory. */
bool troupe__changes_large(const struct troupe__changes *changes);

/* Before the first is added: a table's last row is `key`, {NULL, 0} if it has none. A row behind it that is removed in
 * the end has come and gone, as most mail does, and is no change. Unless this is said, every removal is one. */
void troupe__changes_bound(struct troupe__changes *changes, enum troupe__table table, struct troupe_bytes key);

/* Add the changes of a record; of those of one row the last one added counts. Errors: TROUPE_ENOMEM, TROUPE_ECORRUPT.
 */
enum troupe_error troupe__changes_add(struct troupe__changes *changes, struct troupe_bytes record);

/* Sort: STATE before all other tables, those in their order, each by its keys. Nothing can be added then. */
void troupe__changes_sort(struct troupe__changes *changes);

/* Of sorted ones: number `index`; those behind it are fetched. */
void troupe__changes_get(const struct troupe__changes *changes, size_t index, struct troupe__change *ret);

/* Of sorted ones: the first whose key is not below `prefix`, or where the table ends. */
size_t troupe__changes_find(const struct troupe__changes *changes, enum troupe__table table,
                            struct troupe_bytes prefix);

#endif
