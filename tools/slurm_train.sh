#!/usr/bin/env bash
# Train under Slurm. GPUS, GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS are read
# from the environment; GPUS_PER_NODE=0 asks for no GPUs and runs GPUS
# processes on CPUs. In a job that Slurm has queued again (sbatch --requeue)
# the training resumes.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: [GPUS=8] $0 PARTITION JOB_NAME CONFIG [options of tools/train.py]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
shift 3

if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    # in front, so that a --resume PATH of the caller counts
    set -- --resume auto "$@"
fi

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
    "${PYTHON:-python}" -u "$ROOT/tools/train.py" "$CONFIG" --launcher slurm "$@"
