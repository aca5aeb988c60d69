#!/usr/bin/env bash
# From the ESC-10 folder to a score table:  run.sh ESC10_FOLDER OUT_FOLDER [POOLINGS [SEEDS]]
# Soundscapes and features are made once; each pooling and seed has a folder OUT/runs/POOLING/seed-N
# of its own. The same line goes on where it was stopped. PYTHON and SEDTOOL name other programs than
# those on the PATH; PREPARE_OPTIONS are added to prepare.py, SWEEP_OPTIONS to `sedtool sweep`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
esc10=$1 out=$2 poolings=${3:-power} seeds=${4:-0}
sedtool=${SEDTOOL:-sedtool} python=${PYTHON:-python}

# shellcheck disable=SC2086  # the options are words
[ -f "$out/data/labels/classes.txt" ] ||
    "$python" "$here/prepare.py" "$esc10" "$out/data" ${PREPARE_OPTIONS:-}
# shellcheck disable=SC2086
"$sedtool" sweep "$here/esc10.yaml" --data "$out" -o "$out/runs" \
    --pooling "$poolings" --seeds "$seeds" ${SWEEP_OPTIONS:-}
