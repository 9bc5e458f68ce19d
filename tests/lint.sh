#!/usr/bin/env bash
# Static analysis of everything git tracks: cppcheck over the C, shellcheck over the scripts, clang-format as a check.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
status=0
mapfile -t c_files < <(git ls-files '*.c')
mapfile -t sh_files < <(git ls-files '*.sh' .ci/run)

echo "cppcheck: ${#c_files[@]} files"
cppcheck --quiet --std=c17 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. \
	--suppress=missingIncludeSystem --suppress=unknownMacro -D__x86_64__ -j"$(nproc)" "${c_files[@]}" || status=1

echo "shellcheck: ${#sh_files[@]} files"
shellcheck --severity=warning --shell=bash --exclude=SC2053 "${sh_files[@]}" || status=1

echo "clang-format"
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror 2>&1 | head -n 20
[ "${PIPESTATUS[1]}" = 0 ] || { echo "run: make format"; status=1; }
exit $status
