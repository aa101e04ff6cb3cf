#!/bin/sh
# mutants.sh - each bug that is planted into the links is found by the simulator.
# SPDX-License-Identifier: Apache-2.0
case ${BUILD:=build} in
*address* | *thread*)
    echo "skipped: the library is built with a sanitizer"
    exit 0
    ;;
esac
# As in the Makefile, which sets it when it runs the tests.
: "${LIBS:=-lev -llmdb -lmsgpackc -lzmq -lxxhash -lzstd -lyaml -lpthread -ldl -lm}"
export LIBS
exec python3 test/mutants.py "$BUILD"
