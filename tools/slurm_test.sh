#!/usr/bin/env bash
# Test under Slurm. GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are read
# from the environment; GPUS_PER_NODE=0 asks for no GPUs and runs GPUS
# processes on CPUs.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: [GPUS=8] $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
CHECKPOINT=$4
shift 4

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
RESOURCES=(--ntasks="$GPUS" --cpus-per-task="${CPUS_PER_TASK:-5}")
if [ "$GPUS_PER_NODE" -gt 0 ]; then
    RESOURCES+=(--gres=gpu:"$GPUS_PER_NODE" --ntasks-per-node="$GPUS_PER_NODE")
fi

ROOT="$(cd "$(dirname "$0")/.." && pwd)"
# SRUN_ARGS may hold several options, hence no quotes.
# shellcheck disable=SC2086
PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" \
exec srun -p "$PARTITION" --job-name="$JOB_NAME" "${RESOURCES[@]}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$ROOT/tools/test.py" "$CONFIG" "$CHECKPOINT" --launcher slurm "$@"
