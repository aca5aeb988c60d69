#!/usr/bin/env bash
# From the audio to the paper's Table 3:  run.sh AUDIO METADATA OUT [OPTIONS OF `sedtool sweep`]
# The same line goes on where it was stopped. PYTHON and SEDTOOL name other programs than those on
# the PATH; PREPARE_OPTIONS are added to prepare.py.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 AUDIO METADATA OUT [OPTIONS OF sedtool sweep]" >&2; exit 2; }
here=$(cd -- "$(dirname -- "$0")" && pwd)
mkdir -p -- "$3"
audio=$(cd -- "$1" && pwd) metadata=$(cd -- "$2" && pwd) out=$(cd -- "$3" && pwd)
shift 3

# shellcheck disable=SC2086  # the options are words
[ -f "$out/labels/classes.txt" ] ||
    "${PYTHON:-python}" "$here/prepare.py" "$audio" "$metadata" "$out" ${PREPARE_OPTIONS:-}
"${SEDTOOL:-sedtool}" sweep "$here/dcase2019.yaml" --data "$out" --root "$audio" -o "$out/runs" "$@"
