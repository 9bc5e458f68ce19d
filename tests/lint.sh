#!/usr/bin/env bash
# Static analysis of everything git tracks: cppcheck over the C, shellcheck over the scripts, clang-format as a check.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
status=0
mapfile -t c_files < <(git ls-files '*.c')
mapfile -t sh_files < <(git ls-files '*.sh' .ci/run)

# What this cppcheck does not understand: cleanup attributes (LeakSanitizer finds leaks), nested initializers, waiters on the stack.
not_understood=(--suppress=memleak --suppress=legacyUninitvar --suppress=internalAstError --suppress=autoVariables)
echo "cppcheck: ${#c_files[@]} files"
cppcheck --quiet --std=c17 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -I. \
	"${not_understood[@]}" --suppress=missingIncludeSystem --suppress=unknownMacro -D__x86_64__ -j"$(nproc)" "${c_files[@]}" || status=1

# SC2034, SC2120, SC2154: what one file sets or calls, another that it is sourced by or sources uses.
echo "shellcheck: ${#sh_files[@]} files"
shellcheck --severity=warning --shell=bash --exclude=SC2053,SC2034,SC2120,SC2154 "${sh_files[@]}" || status=1

echo "clang-format"
git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror 2>&1 | head -n 20
[ "${PIPESTATUS[1]}" = 0 ] || { echo "run: make format"; status=1; }
exit $status
