#!/usr/bin/env bash
# A random life of a store for a few seconds: faults, kills, power cuts, damage, clocks that jump, and an oracle that knows
# every byte. The long form is tests/fault/random_life.sh.
LIVES=1 LIFE_SECONDS=${LIFE_SECONDS:-15} exec "${0%/*}/../fault/random_life.sh" "$@"
