#!/usr/bin/env bash
# From the audio to the paper's Table 2:  run.sh AUDIO METADATA OUT [OPTIONS OF `sedtool sweep`]
# The same line goes on where it was stopped. PYTHON and SEDTOOL name other programs than those on
# the PATH; PREPARE_OPTIONS are added to prepare.py.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: $0 AUDIO METADATA OUT [OPTIONS OF sedtool sweep]" >&2; exit 2; }
here=$(cd -- "$(dirname -- "$0")" && pwd)
python=${PYTHON:-python} sedtool=${SEDTOOL:-sedtool}
if ! { command -v "$sedtool" && "$python" -c 'import sedtool'; } >/dev/null 2>&1; then
    echo "error: no sedtool here: activate its environment, or name PYTHON and SEDTOOL" >&2
    exit 2
fi

absolute() { # the path of a folder, whose name in the usage is $2
    cd -- "$1" 2>/dev/null && pwd || { echo "error: $2 $1 is no folder" >&2; exit 2; }
}
audio=$(absolute "$1" AUDIO) # one to a line: a failure counts only in the last of a line
metadata=$(absolute "$2" METADATA)
mkdir -p -- "$3"
out=$(absolute "$3" OUT)
shift 3

# shellcheck disable=SC2086  # the options are words
"$python" "$here/prepare.py" "$audio" "$metadata" "$out" ${PREPARE_OPTIONS:-}
# In place of this shell, so that a signal to it reaches the sweep.
exec "$sedtool" sweep "$here/dcase2017.yaml" --data "$out" --root "$audio" -o "$out/runs" "$@"
