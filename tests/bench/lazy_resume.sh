#!/usr/bin/env bash
# tests/bench/lazy_resume.sh BUILD: a machine of 2 GiB comes back from a store behind a line of 20 MB/s, lazily and in full.
set -euo pipefail
build=$(realpath "${1:-build/release}")
cd "$(dirname "$0")/../.."
exec "$build/tests/bench_memory" lazy 2048 1600
