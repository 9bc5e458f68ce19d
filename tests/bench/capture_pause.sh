#!/usr/bin/env bash
# tests/bench/capture_pause.sh BUILD: how long a machine of 512 MiB stands still for a snapshot with memory.
set -euo pipefail
build=$(realpath "${1:-build/release}")
cd "$(dirname "$0")/../.."
exec "$build/tests/bench_memory" pause 512 256
