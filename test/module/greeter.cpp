// greeter.cpp - an actor in C++: the header compiles as C++17, and a module made of it exports what a node looks for.
// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "core/troupe.h"

namespace
{

// Members are set by name in order to leave the others at their defaults; C++17 has no designated initializers.
constexpr troupe_value value(const char *name, troupe_kind kind)
{
    troupe_value made{};
    made.name = name;
    made.kind = kind;
    return made;
}

constexpr troupe_value count_value = value("count", TROUPE_INT);
constexpr const troupe_value *values[] = {&count_value, nullptr};

troupe_error greet(troupe_context *ctx, const troupe_message *message)
{
    std::int64_t count = 0;
    const char *name = nullptr;
    troupe_error error = troupe_unpack(ctx, message->body, "{s:s}", "name", &name);
    if (error != TROUPE_OK) {
        return troupe_fail(ctx, TROUPE_EREJECTED, "%s", troupe_error_text(error));
    }
    error = troupe_get_int(ctx, &count_value, &count);
    if (error != TROUPE_OK && error != TROUPE_ENOTFOUND) {
        return error;
    }
    troupe_set_int(ctx, &count_value, count + 1);
    std::string text = std::string("hello ") + name;
    troupe_send(ctx, troupe_to("demo/log", "all"), "line", troupe_bytes{text.data(), text.size()});
    return troupe_emit(ctx, "greetings", troupe_self(ctx).key, troupe_pack(ctx, "{s:s}", "text", text.c_str()));
}

troupe_type greeter_type()
{
    troupe_type made{};
    made.name = "demo/greeter";
    made.handler = greet;
    made.values = values;
    made.retry.attempts = 5;
    return made;
}

const troupe_type types[] = {greeter_type()};

} // namespace

extern "C" const troupe_module troupe_module;
const struct troupe_module troupe_module = {TROUPE_ABI, "greeter", "1.0.0", types, 1, nullptr};
