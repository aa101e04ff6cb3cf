/* protocol_fuzz.c - any bytes from a client are refused, or read within their bounds and can be written again.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <string.h>

#include "transport/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct troupe_bytes part, const uint8_t *data, size_t size)
{
    const uint8_t *at = part.data;
    return !at || (at >= data && part.size <= size && (size_t)(at - data) <= size - part.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct troupe__request request, again;
    struct troupe_bytes bytes = {data, size};
    struct troupe__buffer texts = {0}, out = {0};
    struct troupe__reply reply;
    char error[300] = "";
    if (troupe__request_parse(bytes, &request, error, sizeof error) == TROUPE_OK) {
        assert(request.what && inside(request.body, data, size) && inside(request.prefix, data, size));
        assert(!request.to || (request.address.type && request.address.key));
        troupe__request_put(&out, &request);
        assert(troupe__request_parse((struct troupe_bytes){out.data, out.size}, &again, error, sizeof error) ==
               TROUPE_OK);
        assert(again.number == request.number && strcmp(again.what, request.what) == 0);
        assert(again.body.size == request.body.size);
    } else {
        assert(error[0]);
    }
    if (troupe__reply_parse(bytes, &texts, &reply) == TROUPE_OK) {
        assert(inside(reply.body, data, size) && inside(reply.rows, data, size));
    }
    troupe__buffer_free(&texts);
    troupe__buffer_free(&out);
    return 0;
}
