#!/usr/bin/env bash
# run.sh BUILD: every benchmark of this folder, one after the other. ONLY=PATTERN runs matching names.
set -uo pipefail
cd "$(dirname "$0")" || exit
build=$(realpath "../../$1" 2>/dev/null || realpath "$1")
status=0
for script in *.sh; do
	case $script in run.sh | make_*.sh) continue ;; esac
	[ -x "$script" ] && [[ ${script%.sh} == ${ONLY:-*} ]] || continue
	echo "== ${script%.sh}"
	"./$script" "$build" || status=1
done
exit $status
