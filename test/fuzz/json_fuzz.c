/* json_fuzz.c - any text is refused or becomes msgpack that is written as JSON, which then is a fixed point.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "core/msgpack.h"
#include "core/pack.h"
#include "transport/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct troupe__buffer msgpack = {0}, json = {0}, again = {0}, scratch = {0};
    struct troupe__line line;
    char error[200];

    if (troupe__line_parse((const char *)data, size, &scratch, &line, error, sizeof error) == TROUPE_OK) {
        assert(troupe__msgpack_valid(line.body, 64));
        assert(strlen(line.to_type) <= TROUPE_NAME_MAX && strlen(line.to_key) <= TROUPE_KEY_MAX);
    }
    if (troupe__json_parse((const char *)data, size, &msgpack, error, sizeof error) == TROUPE_OK) {
        enum troupe_error result = troupe__json_write((struct troupe_bytes){msgpack.data, msgpack.size}, &json);
        assert(result == TROUPE_OK);
        result = troupe__json_parse((const char *)json.data, json.size, &again, error, sizeof error);
        assert(result == TROUPE_OK);
        assert(again.size == msgpack.size && memcmp(again.data, msgpack.data, again.size) == 0);
    }
    troupe__buffer_free(&msgpack);
    troupe__buffer_free(&json);
    troupe__buffer_free(&again);
    troupe__buffer_free(&scratch);
    return 0;
}
