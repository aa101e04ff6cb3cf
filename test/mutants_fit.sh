#!/bin/sh
# mutants_fit.sh - each bug that mutants.sh and crash/mutants.sh plant still fits the code, which moves; it is seen in a second.
# SPDX-License-Identifier: Apache-2.0
set -eu
python3 test/mutants.py --fit
test/crash/mutants.sh --fit
