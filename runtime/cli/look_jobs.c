/* look_jobs.c - `troupe jobs`: the jobs whose results have not come back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/cli/look.h"
#include "runtime/cli/show.h"
#include "transport/json.h"

static void print_job(const struct troupe__look *look, const struct troupe__job *job, struct troupe__buffer *line)
{
    troupe__show_node(line, look->json, look->node);
    troupe__show_number(line, look->json ? "\"id\":" : "", job->id);
    if (look->json) {
        troupe__show_text(line, ",\"actor\":");
        troupe__show_json_address(line, troupe__job_actor_type(job), troupe__job_actor_key(job));
        troupe__show_text(line, ",\"job\":");
        troupe__json_write_string(troupe__job_name(job), job->name_size, line);
        troupe__show_text(line, ",\"result\":");
        troupe__json_write_string(troupe__job_result(job), job->result_size, line);
        troupe__show_number(line, ",\"begun\":", job->attempt);
        troupe__show_number(line, ",\"failed\":", job->failures);
        troupe__show_text(line, ",\"input\":");
        troupe__show_body(line, troupe__job_input(job));
        troupe__show_text(line, "}");
    } else {
        troupe__buffer_put_byte(line, '\t');
        troupe__show_address(line, job->actor);
        troupe__buffer_put_byte(line, '\t');
        troupe__show_name(line, troupe__job_name(job), job->name_size);
        troupe__buffer_put_byte(line, '\t');
        troupe__show_body(line, troupe__job_input(job));
        troupe__show_number(line, "\tbegun ", job->attempt);
        troupe__show_number(line, ", failed ", job->failures);
    }
    troupe__show_line(line);
}

static enum troupe_error show_jobs(const struct troupe__look *look, struct troupe__view *view,
                                   struct troupe__buffer *line, void *context, enum troupe__table *ret_table)
{
    (void)context;
    *ret_table = TROUPE__JOB;
    enum troupe_error result = TROUPE_OK;
    for (size_t i = 0; i < view->tables[TROUPE__JOB].count && result == TROUPE_OK; i++) {
        struct troupe__job *job;
        result = troupe__view_job(view, view->tables[TROUPE__JOB].rows[i], &job);
        if (result == TROUPE_OK) {
            print_job(look, job, line);
            troupe__job_release(job);
        }
    }
    return result;
}

int troupe__look_jobs(int argc, char **argv)
{
    struct troupe__look look = {
        .command = "jobs",
        .examples = "  troupe jobs --data /var/lib/shop\n",
        .help = "usage: troupe jobs [--data DIR]\n\n"
                "Prints the jobs whose results have not come back, the oldest first: id, the actor that waits for it,\n"
                "name, input, how often it was begun and how often it failed.\n"
                "--json: {\"id\":n,\"actor\":..,\"job\":..,\"result\":..,\"begun\":n,\"failed\":n,\"input\":..}.\n"};
    int code = troupe__look_parse(&look, argc, argv, 0, 0);
    return code >= 0 ? code
                     : troupe__look_at(&look, 1u << TROUPE__JOB, (struct troupe_bytes){"", 0}, NULL, show_jobs, NULL);
}
