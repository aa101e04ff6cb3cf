#!/bin/bash
# cli.sh - the command says what is wrong with its arguments, and its help is there.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
. "$(dirname "$0")/preamble.sh"

# expect STATUS COMMAND..: run `troupe COMMAND..`, keep what it prints in out and err, compare its exit code.
expect() {
    local wanted=$1 status=0
    shift
    "$troupe" "$@" >"$dir/out" 2>"$dir/err" || status=$?
    [ $status = "$wanted" ] || fail "troupe $* ended with status $status, not $wanted"
}
says() { grep -Eq -- "$1" "$dir/out" || fail "no line of the output is like: $1"; }
complains() { grep -Eq -- "$1" "$dir/err" || fail "no line of stderr is like: $1"; }

# Help: of the whole and of each command it names, by both ways.
expect 0 --help
says '^usage: troupe COMMAND'
cp "$dir/out" "$dir/help"
commands=$(sed -n 's/^  \([a-z]*\) .*/\1/p' "$dir/help")
[ "$(echo "$commands" | wc -w)" -ge 8 ] || fail "the help names too few commands"
for command in $commands; do
    expect 0 help "$command"
    says "^usage: troupe $command"
    says '^Options:$'
    says '^ *--help '
    says '^Exit codes: '
    cp "$dir/out" "$dir/help"
    expect 0 "$command" --help
    cmp -s "$dir/out" "$dir/help" || fail "troupe help $command and troupe $command --help differ"
done
for command in $commands; do
    expect 2 "$command" --nonsense
    complains "^troupe $command: there is no option '--nonsense'"
done
expect 0 --version
says '^troupe [0-9]+\.[0-9]+\.[0-9]+$'

# wrong TEXT COMMAND..: exit code 2, nothing on stdout, and this text.
wrong() {
    local text=$1
    shift
    expect 2 "$@"
    complains "$text"
    [ ! -s "$dir/out" ] || fail "troupe $* printed something on stdout"
}
module=$build/samples/greeter.so
wrong '^usage: troupe'
wrong "no command 'runn', but run;" runn
wrong "no command 'diff', but snapshot diff;" diff a b
wrong "no command 'status', but cluster status;" status
wrong "no command 'help-me'" help-me
wrong "no command 'x'" help x
wrong 'name a module' run
wrong "one argument too many: 'b'" run "$module" b
wrong "no option '-x'" run -x
wrong "no option '--outptu', but --output;" run --outptu=x "$module"
wrong "more than one option begins with '--d'" run --d x
wrong "DIR is missing behind '--data'" run "$module" --data
wrong "a switch takes no argument: '--no-supervisor=1'" run --no-supervisor=1 "$module"
wrong "--until-idle takes nothing or timers, not 'tomorrow'" run --until-idle=tomorrow "$module"
wrong "--durability takes disk or process, not 'ram'" run --durability ram "$module"
wrong "--log takes debug, .*, not 'loud'" run --log loud "$module"
wrong "--every; say how often, or leave out '--keep'" run --keep 3 "$module"
wrong "--every, or leave out '--keep'" cluster init --nodes 2 --keep 3
wrong "--log-format takes json or logfmt, not 'xml'" run --log-format xml "$module"
wrong "--memory takes a size from 64M on, .*, not '512'" run "$module" --memory 512
wrong "--listen takes .*1 to 65535, .*, not 'tcp://127.0.0.1:99999'" run "$module" --listen tcp://127.0.0.1:99999
wrong "a key is for a node of a --cluster FILE; leave out '--key'" run "$module" --key "$dir/none"
wrong "with --nodes leave out '--node'" run "$module" --nodes 2 --node n1
wrong "name a new file" keygen
wrong "one argument too many: 'b'" keygen "$dir/a" b
wrong 'cannot load module: .*none.so' run "$dir/none.so"

echo '{"to":"demo/greeter/bob","type":"hello"}' >"$dir/in"
wrong "the output would go into the file that is read" run "$module" --data "$dir/none" --input "$dir/in" --output "$dir/./in"
wrong "two nodes would read the same file" run "$module" --nodes 2 --data "$dir/none" --input "$dir/in" --input "$dir/./in"
rm "$dir/in"
expect 1 cluster init --nodes 2 --tcp h:1 --tcp h:1 "$dir/cluster.yaml"
complains 'two endpoints of nodes n1 and n2 are the same'
expect 1 cluster init --nodes 2 --tcp h:1 --tcp h:2 --clients h:3 --clients h:1 "$dir/cluster.yaml"
complains 'two endpoints of nodes n1 and n2 are the same'
expect 1 cluster init --nodes 1 --tcp h:99999 "$dir/cluster.yaml"
complains 'a port from 1 to 65535'

# A configuration file: strict, with file and line; the command line wins.
# config TEXT: write it to run.yaml, with printf escapes.
config() { printf '%b' "$1" >"$dir/run.yaml"; }
# refused TEXT CONFIG: troupe run with it fails with that text.
refused() {
    config "$2"
    wrong "run.yaml:$1" run "$module" --config "$dir/run.yaml"
}
refused "2: there is no option 'dat', but data;" "log: debug\ndat: x\n"
refused "1: there is no option 'config'" "config: x\n"
refused "3: 'log' stands in line 1 already" "log: debug\n\nlog: info\n"
refused "1: log takes debug, .*, not 'loud'" "log: loud\n"
refused "1: data takes a text .*, not ''" "data:\n"
refused "1: data takes a text .*, not 'true'" "data: true\n"
refused "1: data takes a text .*, not a list" "data: [a]\n"
refused "2: data takes a text .*, not a map" "# a comment\ndata: {a: b}\n"
refused "1: no-supervisor takes true or false, not 'yes'" "no-supervisor: yes\n"
refused "1: until-idle takes nothing or timers, not 'x'" "until-idle: x\n"
refused "1: anchors, aliases and tags" "data: &a x\n"
refused "1: .*a map of" "- data\n"
refused "2: " "data: x\n log: info\n"
refused "2: a second document" "data: x\n---\ndata: y\n"
wrong "none.yaml: No such file" run "$module" --config "$dir/none.yaml"
echo '{"to":"demo/greeter/bob","type":"hello"}' >"$dir/in"
config "module: $module\ndata: $dir/configured\ninput: $dir/in\noutput: $dir/unused\nuntil-idle: true\nlog: warning\nno-supervisor: false\n"
expect 0 run --config "$dir/run.yaml" --output "$dir/records"
grep -q '"text":"Hello, bob!"' "$dir/records" || fail "the configured run put nothing out"
[ ! -e "$dir/unused" ] || fail "the command line did not win over the file"
[ ! -s "$dir/err" ] || fail "the level of the file was not taken"
rm -rf "$dir/configured" "$dir/records" "$dir/in" "$dir/run.yaml"

[ -z "$(ls "$dir" | grep -v 'out\|err\|help')" ] || fail "a wrong command line left something behind"

# What is in the way is named.
echo >"$dir/file"
expect 1 run "$module" --data "$dir/file" --until-idle
complains 'file: it is no directory'
expect 1 run "$module" --data "$dir/none/deeper" --until-idle
complains 'none/deeper: mkdir: No such file'
rm "$dir/file"

# A directory may have a longer path than a socket may: it works all the same.
deep=$dir/$(printf '%0120d' 0)
mkdir "$deep"
echo '{"to":"demo/greeter/ada","type":"hello"}' >"$dir/in"
expect 0 run "$module" --nodes 2 --data "$deep/two" --input "$dir/in" --output "$deep/out" --until-idle
grep -q 'Hello, ada' "$deep"/out.n? || fail "nothing came out of two nodes in a deep directory"
rm -rf "$deep" "$dir/in"

# The log: each line is an event in the form that was asked for.
echo '{"to":"demo/greeter/ada","type":"dan\u0007ce"}' >"$dir/in"
expect 0 run "$module" --data "$dir/data" --input "$dir/in" --output "$dir/records" --until-idle --log-format json
python3 -c 'import json, sys
events = [json.loads(line) for line in sys.stdin]
assert all(list(event) == ["time", "level", "msg"] for event in events), events
assert any("dan" in event["msg"] and event["level"] == "warning" for event in events), events' <"$dir/err" ||
    fail "the log is not JSON lines"
expect 0 run "$module" --data "$dir/data" --input "$dir/in" --output "$dir/records" --until-idle --log warning
[ ! -s "$dir/err" ] || fail "--log warning lets information through"
expect 0 run "$module" --data "$dir/data" --input "$dir/in" --output "$dir/records" --until-idle
[ "$(grep -cvE '^time=[0-9T:.-]+Z level=(info|warning|error) msg="([^"\\]|\\.)*"$' "$dir/err")" = 0 ] ||
    fail "a line of the log is not logfmt"
mkdir "$dir/progress"
python3 test/progress.py "$troupe" "$module" "$dir/progress" || fail "progress"
echo "the command explains itself"
