/* error.c - the texts of the errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "core/troupe.h"

const char *troupe_error_text(enum troupe_error error)
{
    switch (error) {
#define ERROR_TEXT(name, text)                                                                                         \
    case name:                                                                                                         \
        return text;
        TROUPE_ERRORS(ERROR_TEXT)
#undef ERROR_TEXT
    case TROUPE_ERROR_COUNT:
        break;
    }
    return "unknown error"; /* A number that did not come from us, e.g. from a module built against a later header. */
}
