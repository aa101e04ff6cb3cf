/* sim_lines.c - the input of a simulation: its lines, read once, and which node each of them goes to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/sim_lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/grow.h"
#include "transport/input.h"
#include "transport/json.h"

static bool keep_line(struct troupe__sim_lines *lines, const struct troupe__line *line, struct troupe_bytes text)
{
    struct troupe__sim_line *grown = troupe__grow(lines->lines, lines->count, &lines->capacity, sizeof *grown);
    char *body = malloc(line->body.size + 1);
    lines->lines = grown ? grown : lines->lines;
    if (!grown || !body) {
        free(body);
        return false;
    }
    memcpy(body, line->body.data, line->body.size);
    struct troupe__sim_line *kept = &grown[lines->count++];
    *kept = (struct troupe__sim_line){strndup(text.data, text.size), strdup(line->to_type),
                                      strdup(line->to_key),          strdup(line->type),
                                      {body, line->body.size},       troupe__slot_of(line->to_type, line->to_key)};
    return kept->text && kept->to_type && kept->to_key && kept->type;
}

bool troupe__sim_lines_read(struct troupe__sim_lines *lines, const char *path)
{
    struct troupe__input input;
    struct troupe__buffer scratch = {0};
    struct troupe_bytes text;
    struct troupe__line line;
    char error[400];
    enum troupe_error result = troupe__input_open(&input, path, error, sizeof error);
    if (result != TROUPE_OK) {
        fprintf(stderr, "troupe sim: %s\n", error);
        return false;
    }
    while ((result = troupe__input_next(&input, &text, error, sizeof error)) == TROUPE_OK) {
        if (strspn(text.data, " \t\r") >= text.size) {
            continue;
        }
        result = troupe__line_parse(text.data, text.size, &scratch, &line, error, sizeof error);
        if (result == TROUPE_OK && !keep_line(lines, &line, text)) {
            snprintf(error, sizeof error, "out of memory");
            result = TROUPE_ENOMEM;
        }
        if (result != TROUPE_OK) {
            break;
        }
    }
    if (result != TROUPE_ENOTFOUND) {
        fprintf(stderr, "troupe sim: %s: line %" PRIu64 ": %s\n", path, input.line, error);
    }
    troupe__input_close(&input);
    troupe__buffer_free(&scratch);
    return result == TROUPE_ENOTFOUND;
}

void troupe__sim_lines_fini(struct troupe__sim_lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        free(lines->lines[i].text);
        free(lines->lines[i].to_type);
        free(lines->lines[i].to_key);
        free(lines->lines[i].type);
        free((void *)lines->lines[i].body.data);
    }
    free(lines->lines);
}

bool troupe__sim_lines_split(struct troupe__sim_lines *lines, uint16_t node_count)
{
    static struct troupe__slots slots;
    troupe__slots_spread(&slots, 1, 1, node_count);
    size_t *numbers = malloc((lines->count + 1) * sizeof *numbers);
    lines->counts = calloc(node_count, sizeof *lines->counts);
    lines->of_node = calloc(node_count, sizeof *lines->of_node);
    if (!numbers || !lines->counts || !lines->of_node) {
        free(numbers);
        free(lines->counts);
        free(lines->of_node);
        lines->counts = NULL;
        lines->of_node = NULL;
        return false;
    }
    size_t at = 0;
    for (uint16_t node = 0; node < node_count; node++) {
        lines->of_node[node] = numbers + at;
        for (size_t i = 0; i < lines->count; i++) {
            if (slots.owner[lines->lines[i].slot] == node) {
                numbers[at++] = i;
                lines->counts[node]++;
            }
        }
    }
    return true;
}

void troupe__sim_lines_join(struct troupe__sim_lines *lines)
{
    if (lines->of_node) {
        free(lines->of_node[0]);
    }
    free(lines->of_node);
    free(lines->counts);
    lines->of_node = NULL;
    lines->counts = NULL;
}

bool troupe__sim_lines_get(const struct troupe__sim_lines *lines, uint16_t node, size_t index, uint64_t span_ns,
                           struct troupe__sim_input *ret)
{
    if (index >= lines->counts[node]) {
        return false;
    }
    size_t number = lines->of_node[node][index];
    const struct troupe__sim_line *line = &lines->lines[number];
    *ret = (struct troupe__sim_input){.at_ns = (uint64_t)((double)span_ns * (double)number / (double)lines->count),
                                      .to = troupe_to(line->to_type, line->to_key),
                                      .type = line->type,
                                      .body = line->body};
    return true;
}
