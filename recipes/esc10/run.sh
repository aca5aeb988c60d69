#!/usr/bin/env bash
# From the ESC-10 folder to a score table:  run.sh ESC10_FOLDER OUT_FOLDER [POOLINGS [SEEDS]]
# Soundscapes and features are made once; each pooling and seed has a folder OUT/runs/POOLING/seed-N
# of its own. The same line goes on where it was stopped. PYTHON and SEDTOOL name other programs than
# those on the PATH; PREPARE_OPTIONS are added to prepare.py, SWEEP_OPTIONS to `sedtool sweep`.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 ESC10_FOLDER OUT_FOLDER [POOLINGS [SEEDS]]" >&2; exit 2; }
here=$(cd -- "$(dirname -- "$0")" && pwd)
esc10=$1 out=$2 poolings=${3:-power} seeds=${4:-0}
sedtool=${SEDTOOL:-sedtool} python=${PYTHON:-python}
if ! { command -v "$sedtool" && "$python" -c 'import sedtool'; } >/dev/null 2>&1; then
    echo "error: no sedtool here: activate its environment, or name PYTHON and SEDTOOL" >&2
    exit 2
fi

# shellcheck disable=SC2086  # the options are words
"$python" "$here/prepare.py" ${PREPARE_OPTIONS:-} -- "$esc10" "$out/data" ||
    { status=$? && [ $status -eq 3 ]; } || exit "$status" # 3: made, without some unreadable files
# In place of this shell, so that a signal to it reaches the sweep.
# shellcheck disable=SC2086
exec "$sedtool" sweep "$here/esc10.yaml" --data "$out" -o "$out/runs" \
    --pooling "$poolings" --seeds "$seeds" ${SWEEP_OPTIONS:-}
