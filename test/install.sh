#!/bin/bash
# install.sh - what `make install` puts somewhere builds a module and a program there, runs, and can be removed again.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

# Not part of the make that runs the tests.
make_() { env -u MAKEFLAGS -u MAKELEVEL make -s "$@" BUILD="$build" DESTDIR="$dir/root" PREFIX=/opt/troupe >"$dir/log" 2>&1; }

if nm -D "$build/libtroupe.so" | grep -q '__[at]san_init'; then
    echo "nothing is installed from a build with a sanitizer"
    exit 0
fi
prefix=$dir/root/opt/troupe
make_ install || { cat "$dir/log"; fail "make install"; }
for file in bin/troupe include/troupe.h lib/libtroupe.a lib/libtroupe.so lib/pkgconfig/troupe.pc share/man/man1/troupe.1; do
    [ -s "$prefix/$file" ] || fail "no $file"
done
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dir/root LD_LIBRARY_PATH=$prefix/lib
version=$(sed -n 's/^#define TROUPE_VERSION "\(.*\)"/\1/p' "$prefix/include/troupe.h")
[ "$(pkg-config --modversion troupe)" = "$version" ] || fail "troupe.pc has another version than troupe.h"
[ "$("$prefix/bin/troupe" --version)" = "troupe $version" ] || fail "the command has another version than troupe.h"
size=$(($(stat -c %s "$prefix/bin/troupe") + $(stat -Lc %s "$prefix/lib/libtroupe.so")))
[ $size -lt 2000000 ] || fail "the command and the library have $size bytes, not under 2,000,000"

# A module, with the installed header and the installed command.
read -ra flags <<<"$(pkg-config --cflags troupe)"
cc -std=c11 -Wall -Wextra -Werror "${flags[@]}" -shared -fPIC -o "$dir/greeter.so" samples/greeter/greeter.c ||
    fail "a module does not compile against what was installed"
echo '{"to":"demo/greeter/ada","type":"hello","body":{"name":"Ada"}}' >"$dir/in"
"$prefix/bin/troupe" run "$dir/greeter.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" --until-idle \
    2>"$dir/log" || { cat "$dir/log"; fail "the installed command does not run a module"; }
[ "$(wc -l <"$dir/out")" = 1 ] || { cat "$dir/log" "$dir/out"; fail "no greeting"; }

# A program with a node in it, with the shared library and with the archive.
read -ra shared <<<"$(pkg-config --libs troupe)"
read -ra static <<<"$(pkg-config --static --libs troupe | sed 's/-ltroupe/-l:libtroupe.a/')"
cc -std=c11 "${flags[@]}" -o "$dir/shared" samples/embed/main.c "${shared[@]}" -lev || fail "no program links with the library"
cc -std=c11 "${flags[@]}" -o "$dir/static" samples/embed/main.c "${static[@]}" || fail "no program links with the archive"
ldd "$dir/shared" | grep -q 'libtroupe.so.0 => '"$prefix" || fail "the program does not use the installed library"
for program in shared static; do
    [ "$("$dir/$program" "$dir/$program.data" a a)" = $'a: 1\na: 2' ] || fail "the program with the $program library is wrong"
done
make_ uninstall || { cat "$dir/log"; fail "make uninstall"; }
[ -z "$(find "$dir/root" ! -type d)" ] || fail "make uninstall leaves $(find "$dir/root" ! -type d | head -3)"
echo "installed: $size bytes of command and library; a module and two programs built with it run"
