/* yaml_fuzz.c - any text is refused with a line, or is a tree whose lines grow; cluster files of it too.
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "runtime/cli/yaml.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(const struct troupe__yaml *node, unsigned depth)
{
    bool truth;
    assert(depth <= 16 && node->line >= 1);
    assert((node->kind == TROUPE__YAML_SCALAR) == (node->text != NULL));
    (void)troupe__yaml_bool(node, &truth);
    (void)troupe__yaml_is_text(node);
    for (const struct troupe__yaml *at = node->first; at; at = at->next) {
        assert((node->kind == TROUPE__YAML_MAP) == (at->key != NULL));
        if (at->key) {
            assert(troupe__yaml_find(node, at->key) == at); /* No key stands twice. */
        }
        check(at, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char error[300] = "";
    struct troupe__yaml *root;
    enum troupe_error result = troupe__yaml_parse("f", (const char *)data, size, &root, error, sizeof error);
    if (result == TROUPE_OK) {
        check(root, 0);
        troupe__yaml_free(root);
    } else {
        assert(strncmp(error, "f:", 2) == 0 || result == TROUPE_ETOOBIG);
    }
    return 0;
}
