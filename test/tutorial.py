# tutorial.py - does what docs/tutorial.md says, and compares what comes out.
# SPDX-License-Identifier: Apache-2.0
# usage: tutorial.py MARKDOWN ROOT DIR
#
# Blocks, in order: ```sh runs in one shell; ```output is what the block before it printed, where `...` is any text, also
# of several lines; ```c file=NAME is written to NAME. Other blocks are only for reading.
import os, re, subprocess, sys

markdown, root, dir = sys.argv[1:]
os.symlink(root, f"{dir}/troupe")
environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
environment["HOME"] = dir
shell = subprocess.Popen(["bash", "-eu"], cwd=dir, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(f"{dir}/errors", "w+"),
                         text=True)
MARK = "@@end of block@@"
commands = 0


def run(line, block):
    shell.stdin.write(f"{block}\nprintf '\\n{MARK}\\n'\n")
    shell.stdin.flush()
    printed = ""
    while not printed.endswith(f"\n{MARK}\n"):
        more = shell.stdout.readline()
        assert more, f"{markdown}:{line}: a command failed; it had printed:\n{printed}" + open(f"{dir}/errors").read()
        printed += more
    return printed[: -len(MARK) - 2]


printed, info, block, begin = None, None, [], 0
for number, line in enumerate(open(markdown), 1):
    if not line.startswith("```"):
        if info is not None:
            block.append(line)
        continue
    if info is None:
        info, block, begin = line[3:].split(), [], number
        continue
    text = "".join(block)
    name = [word[5:] for word in info if word.startswith("file=")]
    if name:
        open(f"{dir}/{name[0]}", "w").write(text)
    elif info[:1] == ["sh"]:
        assert printed in (None, ""), f"{markdown}:{begin}: nobody compares what the block before printed:\n{printed}"
        printed = run(begin, text)
        commands += 1
    elif info[:1] == ["output"]:
        assert printed is not None, f"{markdown}:{begin}: no block before has printed this"
        pattern = re.escape(text).replace(re.escape("..."), ".*")
        assert re.fullmatch(pattern, printed, re.DOTALL), f"{markdown}:{begin}: not this came out, but:\n{printed}"
        printed = None
    info = None
assert info is None and commands > 0
shell.stdin.close()
assert shell.wait() == 0
print(f"{markdown}: {commands} blocks of commands do what it says")
