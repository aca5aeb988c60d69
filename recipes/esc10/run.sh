#!/usr/bin/env bash
# From the ESC-10 folder to a score table:  run.sh ESC10_FOLDER OUT_FOLDER [POOLING [SEED]]
# Soundscapes and features are made once; each pooling and seed has a folder of its own, and a run
# that was interrupted goes on where it stopped. PYTHON and SEDTOOL name other programs than those
# on the PATH; PREPARE_OPTIONS are added to prepare.py, TRAIN_OPTIONS to `sedtool train`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
esc10=$1 out=$2 pooling=${3:-power} seed=${4:-0}
sedtool=${SEDTOOL:-sedtool} python=${PYTHON:-python}
data=$out/data labels=$out/data/labels run=$out/$pooling-$seed

# shellcheck disable=SC2086  # the options are words
[ -f "$labels/classes.txt" ] ||
    "$python" "$here/prepare.py" "$esc10" "$data" ${PREPARE_OPTIONS:-}
[ -f "$out/features.h5" ] ||
    "$sedtool" extract "$data/audio" --root "$data/audio" -o "$out/features.h5" \
        -c "$here/esc10.yaml" --workers 2
# shellcheck disable=SC2086
"$sedtool" train -o "$run" -c "$here/esc10.yaml" --features "$out/features.h5" \
    --weak "$labels/train_weak.tsv" --val-strong "$labels/validation_strong.tsv" \
    --classes "$labels/classes.txt" --pooling "$pooling" --seed "$seed" --resume \
    ${TRAIN_OPTIONS:-}
"$sedtool" tune "$run/model.safetensors" --features "$out/features.h5" \
    --reference "$labels/validation_strong.tsv"
"$sedtool" infer "$run/model.safetensors" "$data/audio/test" --root "$data/audio" --overwrite \
    -o "$run/events.tsv" --scores "$run/scores.h5" --weak "$run/tags.tsv"
"$sedtool" evaluate "$labels/test_strong.tsv" "$run/scores.h5" -o "$run/metrics.json" --overwrite
