#!/usr/bin/env bash
# Submit a job array and the job behind it, which merges its parts, or makes the table of a sweep;
# prints their numbers.
#
#   AUDIO=audio OUT=out PARTS=8 submit.sh extract [OPTION...]
#   AUDIO=audio OUT=out PARTS=8 MODEL=run/model.safetensors submit.sh infer [OPTION...]
#   PARTS=8 submit.sh sweep recipe.yaml --data DATA -o RUNS [OPTION...]
#
# Options are those of `sedtool extract`, `infer` and `sweep`. Run again after a failure, it makes
# what is missing, and then merges all parts or makes the table.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${PARTS:?is not set: how many parts}"
[ "${1-}" = sweep ] ||
    : "${AUDIO:?is not set: the audio files}" "${OUT:?is not set: the folder for results}"

outputs=()
case ${1-} in
sweep)
    behind=("$here/sweep.sbatch" "${@:2}") # all runs are made then; the same command makes the table
    ;;
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
    echo "usage: submit.sh extract|infer|sweep [OPTION...]" >&2
    exit 2
    ;;
esac
for output in ${outputs[@]+"${outputs[@]}"}; do
    behind=("$here/merge.sbatch" "$parts" "${outputs[@]}")
    if [ -e "$output" ]; then
        echo "$output exists; remove it, or set another OUT" >&2
        exit 2
    fi
done

array=$(sbatch --parsable --array="1-$PARTS" "$here/$1.sbatch" "${@:2}")
array=${array%%;*} # the number alone, where the name of the cluster follows
# If a task fails, the job behind is cancelled instead of waiting forever.
last=$(sbatch --parsable --dependency="afterok:$array" --kill-on-invalid-dep=yes "${behind[@]}")
case $1 in sweep) what=table ;; *) what=merge ;; esac
echo "array $array, $what ${last%%;*}"
