#!/bin/bash
# bank_kill.sh - a bank that is killed at random moments keeps its books right.
# SPDX-License-Identifier: Apache-2.0
# Environment: as samples/bank/demo.sh; a failure prints the seed, TROUPE_SEED sets it.
set -eu
export TROUPE_TRANSFERS="${TROUPE_TRANSFERS:-200000}" TROUPE_KILLS="${TROUPE_KILLS:-5}"
exec "$(dirname "$0")/../samples/bank/demo.sh"
