#!/usr/bin/env python3
"""mutants.py - plant one bug at a time into a copy of a source, and see that the simulator finds it.
SPDX-License-Identifier: Apache-2.0

usage: mutants.py BUILD_DIR [NAME...]   (run by mutants.sh)
       mutants.py --fit                 only whether each still stands there (run by mutants_fit.sh)
Each mutant replaces one text, which must stand in its file exactly once, so that a change of the source shows here. It is
compiled, linked before the library, and must fail within 1,000 seeds."""
import os
import re
import subprocess
import sys

SEEDS = "1000"

# name, file, [(what stands there, what is planted)], the test that finds it where it is not the simulator's
MUTANTS = [
    ("early acknowledgement", "core/link.c", [
        ("        frame->accepted = link->durable.accepted;\n        frame->credit",
         "        frame->accepted = link->row.accepted;\n        frame->credit")]),
    ("early release", "core/link.c", [
        ("    link->sealed = link->row;\n", "    link->sealed = link->row;\n"
         "    link->durable.left = link->durable.sent = link->row.sent;\n")]),
    ("mark not in the epoch", "runtime/machine/links.c", [
        ("    troupe__links_row_put(&links->row, &link->row);\n",
         "    struct troupe__link_row early = link->row;\n    early.accepted = link->durable.accepted;\n"
         "    troupe__links_row_put(&links->row, &early);\n")]),
    ("no gap check", "core/link.c", [
        ("    if (frame->first > next) {",
         "    if (frame->first > next) {\n        next = frame->first;\n        link->row.accepted = next - 1;\n    }\n"
         "    if (frame->first > next) {")]),
    ("no repeat check", "core/link.c", [
        ("    if (frame->first + frame->count <= next) {",
         "    next = frame->first < next ? frame->first : next;\n    if (frame->first + frame->count <= next) {")]),
    ("resend under a new number", "runtime/machine/links.c", [
        ("    frame.first = first;\n", "    frame.first = first + (link->resends > 0);\n")]),
    ("old generation accepted", "runtime/machine/links.c", [
        ("    if (frame->generation != slots->generation) {", "    if (false) {")]),
    ("outbox trimmed outside its epoch", "runtime/machine/links.c", [
        ("    links->rows_due |= update.accept_count > 0 ||",
         "    link->row.trimmed = link->acknowledged;\n"
         "    troupe__outbox_trim(&links->outboxes[frame.sender], links->machine->store, link->acknowledged,\n"
         "                        &links->row);\n"
         "    links->rows_due |= update.accept_count > 0 ||")]),
    ("accepting that waits for the own outbox", "runtime/machine/links.c", [
        ("    links->stats.frames_in++;\n",
         "    links->stats.frames_in++;\n    if (links->machine->stalled) {\n        return TROUPE_OK;\n    }\n")]),
    ("acknowledgements without colour", "core/link.c", [
        ("    update->counts = take_acknowledgement(link, frame->accepted, now_ns);\n    link->credit",
         "    take_acknowledgement(link, frame->accepted, now_ns);\n    link->credit")]),
    ("data without colour", "core/link.c", [
        ("    update->counts = true;\n", "")]),
    ("hellos without colour", "core/link.c", [
        ("    update->counts = take_acknowledgement(link, hello->accepted, now_ns);\n",
         "    take_acknowledgement(link, hello->accepted, now_ns);\n")]),
    ("an incarnation noted without colour", "core/link.c", [
        ("        update->counts |= link->row.peer_incarnation != link->peer_incarnation;\n", "")], "core/link_test"),
    ("the version of a message lost on its way", "core/message.c", [
        ("    message->version = (uint16_t)version;\n", "    message->version = 0;\n")]),
    ("what the receiver has is in flight", "runtime/snapshot/cut.c", [
        ("            return number > cut->nodes[i].links[cut->nodes[node].number].accepted;\n", "            return true;\n")],
     "runtime/snapshot/check_test"),
    ("a check that sees what was cleared", "runtime/snapshot/check.c", [
        (" || parts.generation != head.generation", "")], "runtime/snapshot/check_test"),
    ("colour not durable", "runtime/machine/links.c", [
        ("        seal_colour(links);\n", "")]),
    ("a cut that has gone by taken all the same", "runtime/snapshot/camera.c", [
        ("links ? colour <= links->colour : colour != 0", "!links && colour != 0")]),
    ("a part reported before its colour is durable", "runtime/snapshot/camera.c", [
        ("durable >= camera->report_after && ", "")]),
    ("a cut in the middle of a colour", "runtime/snapshot/camera.c", [
        ("machine->links ? machine->epoch - 1 : machine->epoch;", "machine->epoch;")]),
    ("a part without its mail", "runtime/snapshot/snapshot.c", [
        ("        copy.table = (enum troupe__table)table;\n",
         "        copy.table = (enum troupe__table)table;\n        if (table == TROUPE__MAIL) {\n            continue;\n        }\n")]),
    ("a part without what is in flight", "runtime/snapshot/snapshot.c", [
        ("        copy.table = (enum troupe__table)table;\n",
         "        copy.table = (enum troupe__table)table;\n        if (table == TROUPE__OUTBOX) {\n            continue;\n        }\n")]),
    ("an id that only the node knows which took it in", "runtime/machine/machine_forward.c", [
        ("    if (!known) {\n        return enter(", "    if (true) {\n        return enter(")]),
    ("a repeat of an ask that is handled again", "runtime/machine/machine_forward.c", [
        ("    return wrapped->kind == TROUPE__FORWARDED_ASK ? join_ask(machine, wrapped, id) : TROUPE_OK;",
         "    return wrapped->kind == TROUPE__FORWARDED_ASK ? enter(machine, wrapped, (struct troupe__id){0, 0}, body)\n"
         "                                                  : TROUPE_OK;")]),
    ("what flew is dealt out though it was taken in", "runtime/snapshot/recast_messages.c", [
        ("number > recast->olds[to].accepted[from] ?", "true ?")]),
    ("what flew is not dealt out", "runtime/snapshot/recast_messages.c", [
        ("number > recast->olds[to].accepted[from] ?", "false ?")]),
    ("an answer on its way to its ask that is not dealt out", "runtime/snapshot/recast_messages.c", [
        ("    if (message.kind == TROUPE__OUTWARD) {\n", "    if (message.kind == TROUPE__OUTWARD) {\n        return TROUPE_OK;\n")],
     "runtime/snapshot/recast_test"),
    ("a head that goes before its elements", "runtime/machine/sweeper.c", [
        ("return look.is_head && look.rows == 1 && !tasks ?", "return !tasks ?")], "runtime/machine/values_test"),
    ("a head that goes before what memory knows", "core/collection.c", [
        ("collection->overlay.root || collection->head.generation == 0", "collection->head.generation == 0")],
     "runtime/machine/values_test"),
    ("leaving before it is noted", "core/link.c", [ # one seed in a thousand; a claim of link_test.c
        ("    link->row.left = link->ever_up ? link->row.sent : link->row.left;\n",
         "    link->row.left = link->row.sent;\n")], "core/link_test"),
    ("a loss looked for too late", "core/link.c", [  # a claim of link_test.c, and of models/rollback.pml
        ("    if (!peer_knows_what_it_sent(link, hello)) {",
         "    if (hello->peer_incarnation == link->incarnation && !peer_knows_what_it_sent(link, hello)) {")],
     "core/link_test"),
    ("a late hello taken for a loss", "core/link.c", [
        ("(agreed && hello->peer_incarnation != link->incarnation)", "false")]),
    ("a mark that is no reason to commit", "runtime/machine/links.h", [
        ("    return links->trims_due || links->rows_due;", "    return links->trims_due;")]),
    ("a chunk trimmed before its end is acknowledged", "mailbox/outbox.c", [
        ("           outbox->entries[outbox->head].last <= number) {\n", "           outbox->first <= number) {\n")],
     "mailbox/outbox_test"),
    ("a link forgotten while it has to say something", "core/link.c", [
        ("    return link->due == 0 && link->resend_at_ns", "    return link->resend_at_ns")]),
    ("credit that is never asked for again", "core/link.c", [
        ("    } else if (link->resend_at_ns == TROUPE__NEVER) {\n", "    } else if (false) {\n")]),
]


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def mutate(path, edits):
    text = open(path, encoding="utf-8").read()
    for old, new in edits:
        if text.count(old) != 1:
            sys.exit(f"mutants: {path}: stands there {text.count(old)} times, not once:\n{old}")
        text = text.replace(old, new)
    return text


def compile_mutant(build, directory, path, edits):
    """Objects of what the mutant changes: itself, and for a header whoever includes it."""
    text = mutate(path, edits)
    copy = os.path.join(directory, path)
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with open(copy, "w", encoding="utf-8") as out:
        out.write(text)
    sources = [copy]
    if path.endswith(".h"):
        sources = ["runtime/machine/machine_epoch.c", "runtime/machine/links.c", "runtime/sim/sim_node.c"]
    objects = []
    flags = run(["pkg-config", "--cflags", "lmdb", "libzmq", "libxxhash"]).stdout.split()
    for source in sources:
        objects.append(os.path.join(directory, source.replace("/", "_") + ".o"))
        result = run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-w", "-I" + directory, "-I.",
                      *flags, "-c", "-o", objects[-1], source])
        if result.returncode != 0:
            sys.exit(f"mutants: {source} does not compile:\n{result.stdout}")
    return objects


def check(build, name, path, edits, test="sim/sim_test"):
    directory = os.path.join(build, "mutants", re.sub("[^a-z]+", "-", name))
    os.makedirs(directory, exist_ok=True)
    objects = compile_mutant(build, directory, path, edits)
    program = os.path.join(directory, os.path.basename(test))
    beside = [name[:-2] for name in os.listdir(f"test/{os.path.dirname(test)}")
              if name.endswith(".c") and not name.endswith("_test.c")]
    tests = [os.path.join(build, f"obj/test/{name}.o")
             for name in [test, *(os.path.join(os.path.dirname(test), name) for name in beside)]]
    result = run([os.environ.get("CC", "cc"), "-o", program, *tests, *objects,
                  os.path.join(build, "libtroupe.a"), "-lcmocka",
                  *os.environ["LIBS"].split()])
    if result.returncode != 0:
        sys.exit(f"mutants: {name}: does not link:\n{result.stdout}")
    environment = dict(os.environ, TROUPE_SIM_SEEDS=SEEDS, TROUPE_SIM_LMDB_SEEDS="0")
    environment.pop("TROUPE_SEED", None)
    try:
        result = run([program], env=environment, timeout=120)
    except subprocess.TimeoutExpired:
        print(f"NOT FOUND: {name}: the run did not end in 120 s")
        return False
    found = re.search(r"TROUPE_SEED=(\d+): (.*)|(.*Assertion .*)|(FAILED  \] .*)", result.stdout)
    if result.returncode == 0 or not found:
        print(f"NOT FOUND: {name} within {SEEDS} seeds: exit code {result.returncode}")
        return False
    print(f"found: {name}: {found.group(0)[:150]}")
    return True


def main():
    if sys.argv[1] == "--fit":
        for mutant in MUTANTS:
            mutate(mutant[1], mutant[2])
        return
    build, names = sys.argv[1], sys.argv[2:]
    results = [check(build, *mutant) for mutant in MUTANTS if not names or mutant[0] in names]
    print(f"{sum(results)} of {len(results)} planted bugs found")
    sys.exit(0 if all(results) else 1)


main()
