#!/usr/bin/env bash
# Submit a job array and the job that merges its parts; prints their numbers.
#
#   AUDIO=audio OUT=out PARTS=8 submit.sh extract [OPTION...]
#   AUDIO=audio OUT=out PARTS=8 MODEL=run/model.safetensors submit.sh infer [OPTION...]
#
# Options are those of `sedtool extract` and `sedtool infer`. Run again after a failure, it makes
# the parts that are missing and merges all of them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${AUDIO:?is not set: the audio files}" "${OUT:?is not set: the folder for results}"
: "${PARTS:?is not set: how many parts}"

case ${1-} in
extract)
    parts=$OUT/features-parts
    outputs=("$OUT/features.h5")
    ;;
infer)
    : "${MODEL:?is not set: the model file}"
    parts=$OUT/infer-parts
    outputs=("$OUT/events.tsv" "$OUT/scores.h5")
    ;;
*)
    echo "usage: submit.sh extract|infer [OPTION...]" >&2
    exit 2
    ;;
esac
for output in "${outputs[@]}"; do
    if [ -e "$output" ]; then
        echo "$output exists; remove it, or set another OUT" >&2
        exit 2
    fi
done

array=$(sbatch --parsable --array="1-$PARTS" "$here/$1.sbatch" "${@:2}")
array=${array%%;*} # the number alone, where the name of the cluster follows
# If a task fails, the merge job is cancelled instead of waiting forever.
merge=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes \
    "$here/merge.sbatch" "$parts" "${outputs[@]}")
echo "array $array, merge ${merge%%;*}"
