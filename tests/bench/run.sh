#!/usr/bin/env bash
# run.sh BUILD: every benchmark of this folder, one after the other. ONLY=PATTERN runs matching names.
set -uo pipefail
cd "$(dirname "$0")" || exit
build=$(realpath "../../$1" 2>/dev/null || realpath "$1")
ran=0 failed=()
for script in *.sh; do
	case $script in run.sh | make_*.sh) continue ;; esac
	[ -x "$script" ] && [[ ${script%.sh} == ${ONLY:-*} ]] || continue
	echo "== ${script%.sh}"
	"./$script" "$build" || failed+=("${script%.sh}")
	ran=$((ran + 1))
done
echo "$((ran - ${#failed[@]})) benchmarks ran to their end, ${#failed[@]} did not${failed[*]:+: ${failed[*]}}"
[ ${#failed[@]} = 0 ] && [ $ran -gt 0 ]
