/* module.c - loads the shared object of a module.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

const struct troupe_module *troupe__module_load(const char *command, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s", strchr(name, '/') ? "" : "./", name);
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) {
        fprintf(stderr, "troupe %s: cannot load module: %s\n", command, dlerror());
        return NULL;
    }
    const struct troupe_module *module = dlsym(object, "troupe_module");
    if (!module) {
        fprintf(stderr, "troupe %s: %s exports no `troupe_module`: see troupe.h, modules\n", command, path);
    }
    return module;
}
