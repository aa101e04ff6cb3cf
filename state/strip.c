/* strip.c - changes of rows whose numbers nearly follow each other: a number is a place in a list.
 * SPDX-License-Identifier: Apache-2.0 */
#include "state/strip.h"

#include <stdlib.h>
#include <string.h>

enum { EMPTY_TIMES = 8 /* places for each change */, EMPTY_FREE = 4096 /* and so many */ };

void troupe__strip_clear(struct troupe__strip *strip, size_t kept)
{
    const unsigned char **places = strip->places;
    size_t capacity = strip->capacity;
    if (capacity > kept) {
        free(places);
        places = NULL;
        capacity = 0;
    }
    *strip = (struct troupe__strip){.places = places, .capacity = capacity};
}

/* Whether there is place `index` now. What is new is NULL. */
static bool reach(struct troupe__strip *strip, uint64_t index)
{
    if (strip->ended || index / EMPTY_TIMES >= strip->put_count + EMPTY_FREE / EMPTY_TIMES) {
        return false;
    }
    if (index >= strip->capacity) {
        size_t capacity = strip->capacity > 0 ? strip->capacity : EMPTY_FREE;
        while (capacity <= index) {
            capacity *= 2;
        }
        const unsigned char **places = realloc(strip->places, capacity * sizeof *places);
        if (!places) {
            return false;
        }
        strip->places = places;
        strip->capacity = capacity;
    }
    memset(strip->places + strip->size, 0, ((size_t)index + 1 - strip->size) * sizeof *strip->places);
    strip->size = (size_t)index + 1;
    return true;
}

bool troupe__strip_put(struct troupe__strip *strip, uint64_t number, const unsigned char *at)
{
    if (!strip->begun) {
        strip->begun = true;
        strip->first = number;
    }
    uint64_t index = number - strip->first;
    if (number < strip->first || (index >= strip->size && !reach(strip, index))) {
        strip->ended = strip->ended || number >= strip->first;
        return false;
    }
    strip->count += (at != NULL) - (size_t)(strip->places[index] != NULL);
    strip->places[index] = at;
    strip->put_count++;
    return true;
}
