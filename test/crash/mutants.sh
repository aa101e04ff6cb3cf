#!/bin/bash
# mutants.sh - breaks the product in one way after the other, in a copy, and demands that a test notices.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), whose objects are used again; CC. TROUPE_MUTANT=text: only those whose name has it.
# With the argument --fit: only whether each still changes what it says, in a moment.
set -eu

build=${BUILD:-build}
fit=${1:-}
dir=$(mktemp -d "${TMPDIR:-/tmp}/troupe-mutants.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$(dirname "$0")/../.."
cp -a Makefile core mailbox state transport runtime samples test "$dir"
mkdir -p "$dir/build"
[ -n "$fit" ] || cp -a "$build/obj" "$build/libtroupe.a" "$build/cli.a" "$dir/build"
cd "$dir"
export TROUPE_STATES=600 TROUPE_DAMAGES=600
unset TROUPE_SEED
caught=0
missed=0

# mutant NAME FILE SED TEST...: with FILE changed by SED one of the tests must fail.
mutant() {
    local name=$1 file=$2 change=$3 test status=0
    shift 3
    case $name in *"${TROUPE_MUTANT:-}"*) ;; *) return 0 ;; esac
    cp -p "$file" "$dir/original"
    sed -i -e "$change" "$file"
    if cmp -s "$file" "$dir/original"; then
        echo "FAILED: $name: nothing was changed in $file"
        missed=$((missed + 1))
        return 0
    fi
    [ -z "$fit" ] || set --
    for test; do
        if ! make CFLAGS='-O1 -g' WERROR= BUILD=build "build/test/$test" >"$dir/log" 2>&1; then
            echo "FAILED: $name: does not build"
            tail -5 "$dir/log"
            status=2
            break
        fi
        timeout 120 "build/test/$test" >"$dir/log" 2>&1 || { status=1; break; }
    done
    if [ -n "$fit" ]; then
        :
    elif [ $status = 1 ]; then
        caught=$((caught + 1))
        echo "caught: $name ($test: $(grep -m1 -o 'FAILED  \] .*' "$dir/log" | cut -c11- || echo ended badly))"
    else
        [ $status = 2 ] || echo "FAILED: $name: not noticed by: $*"
        missed=$((missed + 1))
    fi
    cp -p "$dir/original" "$file"
    touch "$file"
}

ulimit -v 16000000 # some of them do not know when to stop
mutant "an actor that may go on counts as blocked" runtime/machine/machine_run.c 's/^ *machine->blocked--;$/;/' machine_test graph_test
mutant "the undo of a failed delivery is skipped" core/state.c '/^void troupe__state_roll_back/,/^}/ s/ctx->undo_count > 0/ctx->undo_count > 1000/' machine_test graph_test values_model_test values_test
mutant "a mark is not in the epoch" runtime/machine/machine_epoch.c '/^enum troupe_error troupe__machine_mark/,/^}/ s/^    troupe__record_set.*$//' machine_test graph_test
mutant "a mail row is not removed" runtime/machine/machine_run.c 's/^        troupe__machine_remove_row(&machine->record, TROUPE__MAIL, .*$/;/' machine_test graph_test
mutant "a message that waits gets no row" runtime/machine/machine_epoch.c '/^static void seal_messages/,/^}/ s/troupe__machine_put_row(.*;/;/' machine_test graph_test
mutant "counters are not stored" runtime/machine/machine_epoch.c 's/^    seal_counters(machine);$//' machine_test graph_test
mutant "a timer that fired keeps its row" runtime/machine/machine_timers.c 's/^    troupe__machine_remove_row(&machine->record, TROUPE__TIMER, timer->id);$//' machine_test graph_test
mutant "a cancelled timer keeps its row" runtime/machine/machine_timers.c 's/^    troupe__machine_remove_row(&machine->record, TROUPE__TIMER, id);$//' machine_test graph_test
mutant "a value that was cleared keeps its row" runtime/machine/machine_state.c '/^static void seal_cell/,/^}/ s/troupe__record_remove(.*;/;/' machine_test graph_test values_model_test values_test
mutant "records are released before they were made durable" runtime/node/committer.c '/^static enum troupe_error do_commit/,/^}/ {
s/^    enum troupe_error result = commit_record.*$/    enum troupe_error result = TROUPE_OK;/
s/^        return TROUPE_OK;$/        return commit_record(committer, epoch, ret_took_ns, error, error_size);/
s/^    return troupe__output_write(.*;$/    result = troupe__output_write(committer->output, error, error_size);\n    return result == TROUPE_OK ? commit_record(committer, epoch, ret_took_ns, error, error_size) : result;/
}' states_test
mutant "records are forgotten before the output is synced" runtime/node/committer.c '/^static void work_on_sync/,/^}/ s/troupe__output_sync(committer->output, error, sizeof error)/TROUPE_OK/' states_test failing_disk_test
mutant "records left over are not let out at a start" runtime/node/node_output.c '/^static enum troupe_error repeat_output/,/^}/ s/^    while (troupe__egress_next(&cursor, &egress)) {$/    while (troupe__egress_next(\&cursor, \&egress)) { last = egress.number; continue;/' states_test
mutant "the output begins at its end, whatever is there" runtime/node/node_output.c '/^static enum troupe_error place_output/,/^}/ s/^        output->offset = offset;$/        output->offset = output->size;/' states_test failing_disk_test
mutant "the input's position is not in the epoch" runtime/node/node.c 's/^    enum troupe_error result = troupe__node_mark_input(node);$/    enum troupe_error result = TROUPE_OK;/' states_test
mutant "a failed commit passes for a good one" state/lmdb_store.c 's/^    return full ? TROUPE_ENOSPACE : TROUPE_EIO;$/    return TROUPE_OK;/' failing_disk_test
mutant "a commit does not sync" state/lmdb_store.c 's/options->sync ? 0 : MDB_NOSYNC/MDB_NOSYNC/' states_test
mutant "a fold's mark is one epoch ahead" state/fold.c 's/troupe__put_be64(mark, epoch);/troupe__put_be64(mark, epoch + 1);/' states_test store_test
mutant "journal: a small record is not flushed" state/journal.c 's/O_DIRECT | O_DSYNC/O_DIRECT/' states_test
mutant "journal: a large record is not flushed" state/journal_append.c '/^static int write_large/,/^}/ s/(code = troupe__journal_flush(journal)) != 0/(code = 0) != 0/' states_test
mutant "journal: an extent that is not folded is overwritten" state/journal_append.c 's/journal->extents\[1\].epoch - 1 <= folded/true/' journal_test
mutant "journal: an extent goes before one behind it has a record" state/journal_append.c 's/ \&\& journal->extents\[1\].epoch <= journal->last//' journal_test states_test
mutant "journal: an extent that is read is overwritten" state/journal_append.c 's/!append->locked || journal->readers->pins > 0/false/' journal_test
mutant "journal: what comes behind a bad record is not looked for" state/journal_file.c 's/if (has_later_anywhere(/if (false \&\& has_later_anywhere(/' damage_test
mutant "journal: what was reached is not compared" state/journal_file.c 's/journal->last < journal->slot.reached/false/' journal_test
mutant "journal: a file that is cut off passes" state/journal_file.c 's/(uint64_t)status.st_size < journal->slot.size/false/' journal_test
mutant "journal: the newest record is not checked" state/journal_file.c 's/!whole || read_record(reader, newest_at, \&newest, \&record)/!whole/' journal_test
mutant "journal: the newest extent is believed" state/journal_file.c '/^static bool find_newest/,/^}/ s/for (size_t head = finds->count; head-- > 0;)/for (size_t head = finds->count; head-- > 0 \&\& head + 1 == finds->count;)/' journal_test states_test
mutant "pages are not checked" state/lmdb_env.c 's/access(path, R_OK) == 0/false/' damage_test
mutant "any two files belong together" state/lmdb_store.c 's/store->opened_folded > 0 \&\& tables_run/false \&\& tables_run/' damage_test
mutant "a troupe that was idle when each was asked once is at rest" runtime/cli/quiet.c 's/if (rest \&\& same \&\& before)/if (rest)/' quiet_test
mutant "a troupe that did something between two questions is at rest" runtime/cli/quiet.c 's/if (rest \&\& same \&\& before)/if (rest \&\& before)/' quiet_test
mutant "a troupe that was at work between two questions is at rest" runtime/cli/quiet.c 's/if (rest \&\& same \&\& before)/if (rest \&\& same)/' quiet_test
mutant "what flies between nodes that are idle is forgotten" runtime/cli/quiet.c 's/return rest \&\& nothing_flies(quiet);/return rest;/' quiet_test
[ -n "$fit" ] || echo "$caught mutants caught, $missed missed"
[ $missed = 0 ]
