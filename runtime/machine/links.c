/* links.c - the links of one node: where its machine, its outboxes and its wire meet.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/machine/links.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/clock.h"
#include "runtime/machine/machine_rows.h"

#define CLUSTER_ROW "cluster"
#define INCARNATION_ROW "incarnation"
#define COLOUR_ROW "colour"
#define LINK_ROW_FORMAT "link/%u"

enum { TRIMS_MAX = 4096 }; /* so many acknowledged messages are trimmed without waiting */

struct name {
    char text[72];
};

/* A node as people know it. */
static struct name name_of(const struct troupe__links *links, unsigned node)
{
    struct name name;
    if (links->options.name && node < links->options.slots->node_count) {
        snprintf(name.text, sizeof name.text, "%s", links->options.name(links->options.name_context, (uint16_t)node));
    } else {
        snprintf(name.text, sizeof name.text, "%u", node);
    }
    return name;
}

static enum troupe_error out_of_memory(struct troupe__links *links)
{
    snprintf(links->error, sizeof links->error, "links: out of memory: nothing durable is lost; start again with more");
    return TROUPE_ENOMEM;
}

/* ---- open and close ---------------------------------------------------------------------------------------------- */

static uint64_t read_varint(const struct troupe__machine *machine, const char *name, bool *failed)
{
    struct troupe_bytes mark = troupe__machine_read_mark(machine, name);
    if (!mark.data) {
        return 0;
    }
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    uint64_t number = troupe__cursor_varint(&cursor);
    *failed = *failed || cursor.failed;
    return number;
}

/* The directory belongs to one place in one cluster and generation. */
static enum troupe_error claim_place(struct troupe__links *links, char *error, size_t error_size)
{
    const struct troupe__slots *slots = links->options.slots;
    struct troupe__machine *machine = links->machine;
    struct troupe_bytes mark = troupe__machine_read_mark(machine, CLUSTER_ROW);
    if (mark.data) {
        struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
        uint64_t cluster = troupe__cursor_varint(&cursor), generation = troupe__cursor_varint(&cursor);
        uint64_t node = troupe__cursor_varint(&cursor);
        if (cursor.failed || cluster != slots->cluster || generation != slots->generation ||
            node != links->options.self) {
            snprintf(error, error_size,
                     "this directory is of node %s of cluster %016" PRIx64 ", generation %" PRIu64
                     ", not of node %s of cluster %016" PRIx64 ", generation %" PRIu64
                     ": name the directory or the cluster file that belong together",
                     name_of(links, (unsigned)node).text, cluster, generation, name_of(links, links->options.self).text,
                     slots->cluster, slots->generation);
            return TROUPE_EINVAL;
        }
        uint64_t map = cursor.at != cursor.end ? troupe__cursor_varint(&cursor) : 0;
        if (cursor.failed || (map != 0 && map != links->map)) {
            snprintf(error, error_size,
                     "the cluster file gives slots to other nodes than when this directory was written, and the actors "
                     "there are where they were: put the old slots back, or move the actors with a snapshot and "
                     "troupe restore --cluster");
            return TROUPE_EINVAL;
        }
        if (map != 0) {
            return TROUPE_OK;
        }
    } else if (machine->store->last_epoch > 0 && slots->node_count > 1) {
        snprintf(error, error_size,
                 "this directory was written by a node that is alone: its actors would belong to other nodes of the "
                 "cluster; use an empty directory");
        return TROUPE_EINVAL;
    }
    links->row.size = 0;
    troupe__buffer_put_varint(&links->row, slots->cluster);
    troupe__buffer_put_varint(&links->row, slots->generation);
    troupe__buffer_put_varint(&links->row, links->options.self);
    troupe__buffer_put_varint(&links->row, links->map);
    return links->row.failed
               ? TROUPE_ENOMEM
               : troupe__machine_mark(machine, CLUSTER_ROW, (struct troupe_bytes){links->row.data, links->row.size});
}

enum troupe_error troupe__links_none(const struct troupe__machine *machine, char *error, size_t error_size)
{
    struct troupe_bytes mark = troupe__machine_read_mark(machine, CLUSTER_ROW);
    struct troupe__slots one;
    troupe__slots_spread(&one, 0, 0, 1);
    struct troupe__cursor cursor = {mark.data, (const unsigned char *)mark.data + mark.size, false};
    uint64_t cluster = mark.data ? troupe__cursor_varint(&cursor) : 0;
    (void)troupe__cursor_varint(&cursor);
    (void)troupe__cursor_varint(&cursor);
    if (!mark.data || (cursor.at != cursor.end && troupe__cursor_varint(&cursor) == troupe__slots_hash(&one))) {
        return TROUPE_OK;
    }
    snprintf(error, error_size,
             "this directory is of a node of cluster %016" PRIx64
             ": alone it would take the actors of the others for its own, if there are any; run it with --cluster and "
             "--node, or the directory above with --nodes",
             cluster);
    return TROUPE_EINVAL;
}

/* Every start is another incarnation; nothing leaves before it is durable, so that no two starts ever share one. */
static enum troupe_error begin_incarnation(struct troupe__links *links)
{
    bool failed = false;
    uint64_t before = read_varint(links->machine, INCARNATION_ROW, &failed);
    links->incarnation = ((before >> 32) + 1) << 32 | links->options.chance;
    links->colour = read_varint(links->machine, COLOUR_ROW, &failed);
    links->sealed_colour = links->durable_colour = links->colour;
    links->row.size = 0;
    troupe__buffer_put_varint(&links->row, links->incarnation);
    if (failed || links->row.failed) {
        return failed ? TROUPE_ECORRUPT : TROUPE_ENOMEM;
    }
    return troupe__machine_mark(links->machine, INCARNATION_ROW,
                                (struct troupe_bytes){links->row.data, links->row.size});
}

static bool decode_row(struct troupe_bytes value, struct troupe__link_row *ret)
{
    struct troupe__cursor cursor = {value.data, (const unsigned char *)value.data + value.size, false};
    struct troupe__link_row row;
    row.sent = troupe__cursor_varint(&cursor);
    row.left = troupe__cursor_varint(&cursor);
    row.trimmed = troupe__cursor_varint(&cursor);
    row.accepted = troupe__cursor_varint(&cursor);
    row.peer_incarnation = troupe__cursor_varint(&cursor);
    if (cursor.failed || row.trimmed > row.left || row.left > row.sent) {
        return false;
    }
    *ret = row;
    return true;
}

int troupe__links_row_read(struct troupe_bytes key, struct troupe_bytes value, size_t node_count,
                           struct troupe__link_row *ret)
{
    static const char prefix[] = "link/";
    char number[8] = "", *end;
    size_t size = key.size - (sizeof prefix - 1);
    if (key.size < sizeof prefix - 1 || memcmp(key.data, prefix, sizeof prefix - 1) != 0) {
        return TROUPE__LINK_ROW_NONE;
    }
    if (size == 0 || size >= sizeof number) {
        return TROUPE__LINK_ROW_BAD;
    }
    memcpy(number, (const char *)key.data + sizeof prefix - 1, size);
    unsigned long peer = strtoul(number, &end, 10);
    return *end == '\0' && peer < node_count && decode_row(value, ret) ? (int)peer : TROUPE__LINK_ROW_BAD;
}

void troupe__links_row_key(uint16_t node, char key[static 16])
{
    snprintf(key, 16, LINK_ROW_FORMAT, node);
}

void troupe__links_row_put(struct troupe__buffer *value, const struct troupe__link_row *row)
{
    troupe__buffer_put_varint(value, row->sent);
    troupe__buffer_put_varint(value, row->left);
    troupe__buffer_put_varint(value, row->trimmed);
    troupe__buffer_put_varint(value, row->accepted);
    troupe__buffer_put_varint(value, row->peer_incarnation);
}

static enum troupe_error read_row(struct troupe__links *links, uint16_t node, struct troupe__link_row *row)
{
    char name[16];
    snprintf(name, sizeof name, LINK_ROW_FORMAT, node);
    struct troupe_bytes mark = troupe__machine_read_mark(links->machine, name);
    *row = (struct troupe__link_row){0};
    return !mark.data || decode_row(mark, row) ? TROUPE_OK : TROUPE_ECORRUPT;
}

static enum troupe_error open_link(struct troupe__links *links, uint16_t node)
{
    const struct troupe__links_options *options = &links->options;
    struct troupe__link_options link_options = {options->window, options->resend_ns, options->resend_max_ns};
    struct troupe__link_row row;
    enum troupe_error result = read_row(links, node, &row);
    if (result == TROUPE_OK) {
        troupe__link_init(&links->links[node], &link_options, links->incarnation, &row);
        troupe__outbox_init(&links->outboxes[node], node, options->outbox_memory_max, row.trimmed + 1, row.sent);
    }
    return result;
}

/* The chunks of outboxes that only the journal has stand in machine->unsent, in the order of their numbers: varint
 * link, varint first number, string row. What comes before the first of a link is in the tables. */
static enum troupe_error restore_outboxes(struct troupe__links *links)
{
    const struct troupe__buffer *unsent = &links->machine->unsent;
    struct troupe__cursor cursor = {unsent->data, unsent->data + unsent->size, false};
    uint16_t node_count = links->options.slots->node_count;
    while (cursor.at < cursor.end) {
        uint64_t node = troupe__cursor_varint(&cursor), first = troupe__cursor_varint(&cursor);
        struct troupe_bytes row;
        row.data = troupe__cursor_string(&cursor, &row.size);
        if (cursor.failed || node >= node_count || node == links->options.self) {
            return TROUPE_ECORRUPT;
        }
        struct troupe__outbox *outbox = &links->outboxes[node];
        if (first < outbox->first) {
            continue; /* It was trimmed since. */
        }
        if (outbox->count == 0) {
            if (first > outbox->last + 1) {
                return TROUPE_ECORRUPT;
            }
            troupe__outbox_init(outbox, (uint16_t)node, links->options.outbox_memory_max, outbox->first, first - 1);
        }
        enum troupe_error result = troupe__outbox_restore(outbox, links->machine->store->last_epoch, first, row);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    for (uint16_t node = 0; node < node_count; node++) {
        if (node != links->options.self && links->outboxes[node].last != links->links[node].row.sent) {
            return TROUPE_ECORRUPT;
        }
    }
    return TROUPE_OK;
}

/* Something is to be done for the link to `node`, now or later. */
static void touch(struct troupe__links *links, uint16_t node)
{
    if (!links->is_active[node]) {
        links->is_active[node] = true;
        links->active[links->active_count++] = node;
    }
}

static void touch_all(struct troupe__links *links)
{
    for (uint16_t node = 0; node < links->options.slots->node_count; node++) {
        if (node != links->options.self) {
            touch(links, node);
        }
    }
}

/* Forget those that are settled. */
static void drop_settled(struct troupe__links *links)
{
    uint16_t kept = 0;
    for (uint16_t i = 0; i < links->active_count; i++) {
        uint16_t node = links->active[i];
        if (troupe__link_settled(&links->links[node]) && troupe__outbox_empty(&links->outboxes[node])) {
            links->is_active[node] = false;
            troupe__outbox_shrink(&links->outboxes[node]);
        } else {
            links->active[kept++] = node;
        }
    }
    links->active_count = kept;
}

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
    return value ? value : otherwise;
}

static void take_defaults(struct troupe__links_options *options)
{
    options->window = or_default(options->window, 1 << 20);
    options->outbox_memory_max = or_default(options->outbox_memory_max, 8 << 20);
    options->backlog_max = or_default(options->backlog_max, 256 << 20);
    options->outbox_size_max = or_default(options->outbox_size_max, 4 * options->backlog_max);
    options->waiting_max = or_default(options->waiting_max, 65536);
    options->resend_ns = or_default(options->resend_ns, 200 * UINT64_C(1000000));
    options->resend_max_ns = or_default(options->resend_max_ns, 5 * UINT64_C(1000000000));
    options->trim_ns = or_default(options->trim_ns, 50 * UINT64_C(1000000));
}

/* What is sent makes an outbox full; only what is acknowledged makes it less so. */
static void note_full(struct troupe__links *links, const struct troupe__outbox *outbox)
{
    uint64_t size = troupe__outbox_size(outbox);
    links->machine->held |= size > links->options.backlog_max;
    links->machine->stalled |= size > links->options.outbox_size_max;
}

static void update_full(struct troupe__links *links)
{
    links->machine->held = links->machine->stalled = false;
    for (uint16_t i = 0; i < links->active_count; i++) {
        note_full(links, &links->outboxes[links->active[i]]);
    }
}

enum troupe_error troupe__links_open(struct troupe__machine *machine, const struct troupe__links_options *options,
                                     struct troupe__links **ret, char *error, size_t error_size)
{
    uint16_t node_count = options->slots->node_count;
    assert(!machine->links && options->self < node_count);
    assert(machine->fresh_count == 0); /* Nothing may have been taken in that belongs to another node. */
    struct troupe__links *links = calloc(1, sizeof *links);
    struct troupe__link *each = calloc(node_count, sizeof *each);
    struct troupe__outbox *outboxes = calloc(node_count, sizeof *outboxes);
    uint16_t *active = calloc(node_count, sizeof *active);
    bool *is_active = calloc(node_count, sizeof *is_active);
    if (!links || !each || !outboxes || !active || !is_active) {
        free(links);
        free(each);
        free(outboxes);
        free(active);
        free(is_active);
        snprintf(error, error_size, "links: out of memory");
        return TROUPE_ENOMEM;
    }
    *links = (struct troupe__links){.options = *options,
                                    .machine = machine,
                                    .links = each,
                                    .outboxes = outboxes,
                                    .active = active,
                                    .is_active = is_active,
                                    .trim_at_ns = TROUPE__NEVER};
    take_defaults(&links->options);
    error[0] = '\0';
    links->map = troupe__slots_hash(links->options.slots);
    enum troupe_error result = claim_place(links, error, error_size);
    result = result == TROUPE_OK ? begin_incarnation(links) : result;
    for (uint16_t node = 0; node < node_count && result == TROUPE_OK; node++) {
        result = node == options->self ? TROUPE_OK : open_link(links, node);
    }
    result = result == TROUPE_OK ? restore_outboxes(links) : result;
    if (result != TROUPE_OK) {
        if (error[0] == '\0') {
            snprintf(error, error_size, "links: %s",
                     result == TROUPE_ENOMEM ? "out of memory" : "a row does not fit the others: run troupe doctor");
        }
        troupe__links_close(links);
        return result;
    }
    troupe__buffer_free(&machine->unsent);
    machine->links = links;
    machine->ctx.node = options->self;
    touch_all(links);
    update_full(links);
    *ret = links;
    return TROUPE_OK;
}

void troupe__links_close(struct troupe__links *links)
{
    if (!links) {
        return;
    }
    for (uint16_t node = 0; node < links->options.slots->node_count; node++) {
        troupe__outbox_fini(&links->outboxes[node]);
    }
    links->machine->links = NULL;
    free(links->outboxes);
    free(links->links);
    free(links->active);
    free(links->is_active);
    troupe__buffer_free(&links->frame);
    troupe__buffer_free(&links->row);
    free(links);
}

/* Bytes beyond which a data frame takes no more: so that several are under way. */
static size_t frame_size(const struct troupe__links *links)
{
    return links->options.window / 4 < TROUPE__FRAME_DATA_SIZE ? (size_t)links->options.window / 4
                                                               : TROUPE__FRAME_DATA_SIZE;
}

/* ---- the machine's side ------------------------------------------------------------------------------------------ */

enum troupe_error troupe__links_put(struct troupe__links *links, struct troupe__message *message)
{
    uint16_t node = links->options.slots->owner[message->to->slot];
    assert(node != links->options.self);
    links->row.size = 0;
    troupe__message_encode(message, &links->row);
    struct troupe_bytes row = {links->row.data, links->row.size};
    if (links->row.failed ||
        !troupe__outbox_push(&links->outboxes[node], links->machine->epoch, row, frame_size(links))) {
        return out_of_memory(links);
    }
    troupe__link_append(&links->links[node]);
    links->machine->outgoing_size += row.size;
    touch(links, node);
    note_full(links, &links->outboxes[node]);
    troupe__message_free(message);
    return TROUPE_OK;
}

static void seal_link(struct troupe__links *links, uint16_t node)
{
    struct troupe__link *link = &links->links[node];
    struct troupe__outbox *outbox = &links->outboxes[node];
    struct troupe__buffer *record = &links->machine->record;
    troupe__outbox_trim(outbox, links->machine->store, link->acknowledged, record);
    troupe__outbox_seal(outbox, links->machine->epoch, record);
    if (!troupe__link_seal(link, outbox->first - 1)) {
        return;
    }
    char name[16];
    troupe__links_row_key(node, name);
    links->row.size = 0;
    troupe__links_row_put(&links->row, &link->row);
    troupe__record_set(record, TROUPE__META, name, strlen(name), links->row.data, links->row.size);
}

static void seal_colour(struct troupe__links *links)
{
    links->row.size = 0;
    troupe__buffer_put_varint(&links->row, links->colour);
    troupe__buffer_put_varint(&links->row, (uint64_t)links->machine->ctx.now_ms);
    troupe__record_set(&links->machine->record, TROUPE__META, COLOUR_ROW, strlen(COLOUR_ROW), links->row.data,
                       links->row.size);
}

void troupe__links_seal(struct troupe__links *links)
{
    for (uint16_t i = 0; i < links->active_count; i++) {
        seal_link(links, links->active[i]);
    }
    links->machine->outgoing_size = 0;
    if (links->colour != links->sealed_colour) {
        seal_colour(links);
        links->sealed_colour = links->colour;
    }
    links->trims_due = links->rows_due = false;
    links->trim_at_ns = TROUPE__NEVER;
    links->machine->record.failed |= links->row.failed;
    update_full(links);
}

void troupe__links_durable(struct troupe__links *links, uint64_t now_ns)
{
    links->live = true;
    links->durable_colour = links->sealed_colour;
    for (uint16_t i = 0; i < links->active_count; i++) {
        troupe__link_durable(&links->links[links->active[i]], now_ns);
    }
}

void troupe__links_folded(struct troupe__links *links, uint64_t epoch)
{
    for (uint16_t i = 0; i < links->active_count; i++) {
        troupe__outbox_spill(&links->outboxes[links->active[i]], epoch);
    }
}

void troupe__links_colour(struct troupe__links *links, uint64_t colour)
{
    if (colour > links->colour) {
        links->colour = colour;
    }
}

void troupe__links_colour_by_time(struct troupe__links *links, int64_t now_ms)
{
    if (now_ms - links->coloured_ms >= TROUPE__COLOUR_MS) {
        uint64_t by_time = troupe__colour_of(now_ms);
        links->coloured_ms = now_ms;
        troupe__links_colour(links, by_time > links->colour ? by_time : links->colour + 1);
    }
}

void troupe__links_begin_colour(struct troupe__links *links, uint64_t colour)
{
    links->rows_due |= colour > links->colour;
    troupe__links_colour(links, colour);
}

/* ---- frames that come -------------------------------------------------------------------------------------------- */

/* Powers of two only: a stranger who does not stop must not fill the log. */
__attribute__((format(printf, 2, 3))) static void refuse(struct troupe__links *links, const char *format, ...)
{
    uint64_t count = ++links->stats.refused;
    if ((count & (count - 1)) != 0) {
        return;
    }
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    troupe__machine_report(links->machine, TROUPE_ERROR, "frame refused (%" PRIu64 " so far): %s", count, text);
}

static bool belongs_here(struct troupe__links *links, int peer, const struct troupe__frame *frame)
{
    const struct troupe__slots *slots = links->options.slots;
    if (frame->cluster != slots->cluster) {
        refuse(links, "it is of cluster %016" PRIx64 ", this is %016" PRIx64 ": two cluster files name one endpoint",
               frame->cluster, slots->cluster);
        return false;
    }
    if (frame->receiver != links->options.self || frame->sender >= slots->node_count ||
        frame->sender == links->options.self || (peer != TROUPE__PEER_UNKNOWN && peer != frame->sender)) {
        refuse(links, "it says from node %s to node %s, this is node %s: the nodes' cluster files differ",
               name_of(links, frame->sender).text, name_of(links, frame->receiver).text,
               name_of(links, links->options.self).text);
        return false;
    }
    if (frame->generation != slots->generation) {
        refuse(links,
               "node %s is of generation %" PRIu64 ", this one of %" PRIu64
               ": all nodes must be of the one restored last; start it with the new cluster file and directory",
               name_of(links, frame->sender).text, frame->generation, slots->generation);
        if (frame->kind == TROUPE__FRAME_HELLO && (frame->flags & TROUPE__HELLO_ASKS)) {
            links->links[frame->sender].due |= TROUPE__DUE_HELLO; /* So it learns of it too. */
            links->links[frame->sender].greet_back = false;
            touch(links, frame->sender);
        }
        return false;
    }
    if (frame->map != (uint16_t)links->map) {
        refuse(links,
               "node %s gives the slots to other nodes: the nodes' cluster files differ; give all of them the same one",
               name_of(links, frame->sender).text);
        return false;
    }
    return true;
}

static enum troupe_error take_message(struct troupe__links *links, uint16_t node, struct troupe_bytes row)
{
    struct troupe__machine *machine = links->machine;
    struct troupe__message *message;
    enum troupe_error result = troupe__message_decode(&machine->actors, row, &message);
    if (result == TROUPE_ENOMEM) {
        return out_of_memory(links);
    }
    if (result != TROUPE_OK) {
        char reason[160];
        snprintf(reason, sizeof reason, "link: a message from node %s is malformed: is it of another version?",
                 name_of(links, node).text);
        return troupe__machine_bury(machine, reason, row);
    }
    if (!troupe__links_local(links, message->to)) {
        char reason[160];
        snprintf(reason, sizeof reason, "link: node %s takes this node for the owner of slot %u",
                 name_of(links, node).text, message->to->slot);
        result = troupe__machine_bury(machine, reason, row);
        troupe__message_free(message);
        return result;
    }
    result = troupe__machine_take(machine, message);
    if (result != TROUPE_OK) {
        troupe__message_free(message);
        snprintf(links->error, sizeof links->error, "%s", machine->error);
    }
    return result;
}

static enum troupe_error take_messages(struct troupe__links *links, const struct troupe__frame *frame,
                                       const struct troupe__link_update *update)
{
    struct troupe__cursor cursor = {.at = frame->messages.data,
                                    .end = (const unsigned char *)frame->messages.data + frame->messages.size};
    struct troupe_bytes row;
    enum troupe_error result = TROUPE_OK;
    for (uint32_t i = 0; i < update->skip + update->accept_count && result == TROUPE_OK; i++) {
        bool found = troupe__frame_message(&cursor, &row);
        assert(found);
        result = i < update->skip ? TROUPE_OK : take_message(links, frame->sender, row);
    }
    return result;
}

enum troupe_error troupe__links_take(struct troupe__links *links, uint64_t now_ns, int peer, struct troupe_bytes bytes)
{
    struct troupe__frame frame;
    enum troupe_error result = troupe__frame_decode(bytes, &frame);
    links->stats.frames_in++;
    if (result != TROUPE_OK) {
        refuse(links, "%zu bytes: %s", bytes.size, troupe_error_text(result));
        return TROUPE_OK;
    }
    if (!belongs_here(links, peer, &frame)) {
        return TROUPE_OK;
    }
    struct troupe__link *link = &links->links[frame.sender];
    enum troupe__link_state before = link->state;
    touch(links, frame.sender);
    struct troupe__link_update update;
    troupe__link_receive(link, &frame, now_ns, &update);
    if (update.now_lost) {
        troupe__machine_report(links->machine, TROUPE_ERROR, "the link to node %s is down and stays down: %s",
                               name_of(links, frame.sender).text, link->reason);
    } else if (link->state == TROUPE__LINK_UP && before != TROUPE__LINK_UP) {
        troupe__machine_report(links->machine, TROUPE_INFO, "the link to node %s is up",
                               name_of(links, frame.sender).text);
    }
    links->rows_due |= update.accept_count > 0 || troupe__link_waits_to_leave(link);
    if (update.counts) {
        troupe__links_colour(links, frame.colour);
    }
    if (link->acknowledged > link->row.trimmed && links->trim_at_ns == TROUPE__NEVER) {
        links->trim_at_ns = now_ns + links->options.trim_ns;
    }
    links->trims_due |= link->acknowledged - link->row.trimmed >= TRIMS_MAX;
    return update.accept_count > 0 ? take_messages(links, &frame, &update) : TROUPE_OK;
}

/* ---- frames that go ---------------------------------------------------------------------------------------------- */

static struct troupe__frame new_frame(const struct troupe__links *links, uint16_t node)
{
    return (struct troupe__frame){
        .sender = links->options.self,
        .receiver = node,
        .map = (uint16_t)links->map,
        .cluster = links->options.slots->cluster,
        .generation = links->options.slots->generation,
        .incarnation = links->incarnation,
        .colour = links->durable_colour,
    };
}

static bool send_frame(struct troupe__links *links, uint16_t node)
{
    struct troupe_bytes bytes = {links->frame.data, links->frame.size};
    if (links->frame.failed) {
        links->frame.failed = false;
        return false; /* No memory for it now: no more than a loss. */
    }
    return links->options.wire->send(links->options.wire, node, bytes) == TROUPE_OK;
}

static enum troupe_error get_chunk(struct troupe__links *links, uint16_t node, uint64_t number,
                                   struct troupe__outbox_chunk *ret)
{
    enum troupe_error result = troupe__outbox_get(&links->outboxes[node], links->machine->store, number, ret);
    if (result == TROUPE_OK && ret->last <= links->links[node].durable.left) {
        return TROUPE_OK;
    }
    bool damaged = result == TROUPE_OK || result == TROUPE_ENOTFOUND || result == TROUPE_ECORRUPT;
    snprintf(links->error, sizeof links->error, "outbox of node %s, message %" PRIu64 ": %.300s: run troupe doctor",
             name_of(links, node).text, number,
             damaged ? "its row is missing or malformed" : links->machine->store->error);
    return damaged ? TROUPE_ECORRUPT : result;
}

/* One data frame, with number `next` and what follows. */
static enum troupe_error send_data(struct troupe__links *links, uint16_t node, uint64_t next, bool *ret_sent)
{
    struct troupe__link *link = &links->links[node];
    struct troupe__outbox_chunk chunk;
    enum troupe_error result = get_chunk(links, node, next, &chunk);
    struct troupe__frame frame = new_frame(links, node);
    uint64_t first = chunk.first, last = 0;
    if (result != TROUPE_OK) {
        return result;
    }
    troupe__link_fill(link, TROUPE__FRAME_DATA, &frame);
    frame.first = first;
    troupe__frame_begin(&frame, &links->frame);
    /* Small ones share a frame: a backlog of many epochs that each sent little. */
    while (last == 0 || links->frame.size + chunk.messages.size <= frame_size(links)) {
        troupe__frame_add(&links->frame, chunk.messages);
        last = chunk.last;
        if (last == link->durable.left) {
            break;
        }
        result = get_chunk(links, node, last + 1, &chunk);
        if (result != TROUPE_OK) {
            return result;
        }
    }
    troupe__frame_end(&links->frame, (uint32_t)(last + 1 - first));
    size_t size = links->frame.size;
    *ret_sent = send_frame(links, node);
    if (*ret_sent) {
        troupe__link_transmitted(link, last, size);
    } else {
        link->due |= TROUPE__DUE_ACKNOWLEDGEMENT;
    }
    return TROUPE_OK;
}

enum troupe_error troupe__links_send_messages(struct troupe__links *links)
{
    enum troupe_error result = TROUPE_OK;
    for (uint16_t i = 0; links->live && i < links->active_count && result == TROUPE_OK; i++) {
        uint16_t node = links->active[i];
        uint64_t next;
        bool sent = true;
        while (sent && result == TROUPE_OK && (next = troupe__link_next(&links->links[node])) != 0) {
            result = send_data(links, node, next, &sent);
        }
    }
    return result;
}

static void send_answer(struct troupe__links *links, uint16_t node, enum troupe__frame_kind kind)
{
    struct troupe__frame frame = new_frame(links, node);
    troupe__link_fill(&links->links[node], kind, &frame);
    troupe__frame_encode(&frame, &links->frame);
    send_frame(links, node);
}

void troupe__links_send_answers(struct troupe__links *links)
{
    /* A node that does not handle takes in all the same: else two full ones would wait for each other. */
    bool crowded = links->machine->waiting >= links->options.waiting_max && !links->machine->stalled;
    if (crowded != links->crowded) {
        links->crowded = crowded;
        touch_all(links);
    }
    for (uint16_t i = 0; links->live && i < links->active_count; i++) {
        uint16_t node = links->active[i];
        struct troupe__link *link = &links->links[node];
        troupe__link_set_room(link, crowded ? 0 : links->options.window);
        if (link->due & TROUPE__DUE_HELLO) {
            send_answer(links, node, TROUPE__FRAME_HELLO);
        }
        if (link->due & TROUPE__DUE_REQUEST) {
            send_answer(links, node, TROUPE__FRAME_REQUEST);
        }
        if (link->due & TROUPE__DUE_ACKNOWLEDGEMENT) {
            send_answer(links, node, TROUPE__FRAME_ACKNOWLEDGEMENT);
        } else if (link->due & TROUPE__DUE_CREDIT) {
            send_answer(links, node, TROUPE__FRAME_CREDIT);
        }
    }
}

uint64_t troupe__links_tick(struct troupe__links *links, uint64_t now_ns)
{
    uint64_t next_ns = TROUPE__NEVER;
    drop_settled(links);
    for (uint16_t i = 0; i < links->active_count; i++) {
        struct troupe__link *link = &links->links[links->active[i]];
        troupe__link_tick(link, now_ns);
        next_ns = link->resend_at_ns < next_ns ? link->resend_at_ns : next_ns;
    }
    links->trims_due |= now_ns >= links->trim_at_ns;
    return links->trims_due || next_ns < links->trim_at_ns ? next_ns : links->trim_at_ns;
}
