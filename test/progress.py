# progress.py - a run on a terminal says how far it is, and clears that line before it logs; elsewhere it never does.
# SPDX-License-Identifier: Apache-2.0
# usage: progress.py TROUPE MODULE DIR
import fcntl, os, pty, select, struct, subprocess, sys, termios, time

troupe, module, dir = sys.argv[1:]
CLEAR = b"\r\x1b[K"


def start(name, stderr):
    os.mkfifo(f"{dir}/{name}.in")
    process = subprocess.Popen(
        [troupe, "run", module, "--data", f"{dir}/{name}", "--input", f"{dir}/{name}.in",
         "--output", f"{dir}/{name}.out", "--until-idle", "--log", "warning"], stderr=stderr)
    return process, open(f"{dir}/{name}.in", "wb", buffering=0)


def read_until(terminal, wanted, seen=b""):
    end = time.monotonic() + 60
    while wanted not in seen:
        assert time.monotonic() < end, f"{wanted} did not come; what came: {seen[-500:]}"
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen


terminal, end = pty.openpty()
fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
process, file = start("terminal", end)
file.write(b'{"to":"demo/greeter/ada","type":"hello"}\n')
seen = read_until(terminal, b"deliveries")
assert CLEAR + b"troupe run: 1 lines in, 1 deliveries" in seen, seen
drawn = seen.split(CLEAR)
assert all(len(line) < 60 for line in drawn), seen  # never wider than the terminal
file.write(b"no message\n")
seen = read_until(terminal, b"dead letter")
assert CLEAR + b"time=" in seen, seen
file.close()
assert process.wait(60) == 0
os.close(end)
rest = seen
try:
    while select.select([terminal], [], [], 0)[0]:
        rest += os.read(terminal, 4096)
except OSError:
    pass
assert rest.rstrip(b"\r\n").endswith(CLEAR) or b"troupe run:" not in rest.rsplit(CLEAR, 1)[-1], rest

# A pipe: nothing but events, though it takes as long.
process, file = start("pipe", subprocess.PIPE)
file.write(b'{"to":"demo/greeter/ada","type":"hello"}\n')
end = time.monotonic() + 2.5  # beyond the two seconds after which a terminal would see it
while time.monotonic() < end:
    select.select([], [], [], end - time.monotonic())
file.close()
text = process.stderr.read()
assert process.wait(60) == 0
assert text == b"", text
print("progress is shown on a terminal only")
