#!/usr/bin/env bash
# Start or stop a Slurm of one node, this machine, on loopback, as root:
#     one_node_slurm.sh start DIR [PORT]      one_node_slurm.sh stop DIR
# It needs Debian's packages slurm-wlm and munge, neither systemd nor cgroups,
# and writes nothing outside DIR. In between, with SLURM_CONF=DIR/slurm.conf in
# the environment, srun and sbatch work; the partition is called cpu.
set -euo pipefail

usage() {
    echo "usage: $0 start DIR [PORT] | stop DIR" >&2
    exit 2
}

[ $# -ge 2 ] || usage
ACTION=$1
DIR=$(realpath -m "$2")
PORT=${3:-26817}
DAEMONS='slurmctld slurmd munged'
export SLURM_CONF=$DIR/slurm.conf

start() {
    local program host cpus
    for program in $DAEMONS; do
        if ! command -v "$program" >/dev/null; then
            echo "$program is missing: apt-get install slurm-wlm munge" >&2
            exit 1
        fi
    done
    mkdir -p "$DIR"/{state,spool,log}
    host=$(hostname -s)
    cpus=$(nproc)
    cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$PORT
SlurmdPort=$((PORT + 1))
# a job that is queued again waits until its old credentials have expired
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmUser=root
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=5
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$((cpus > 2 ? cpus : 2)) State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
    dd if=/dev/urandom of="$DIR/munge.key" bs=128 count=1 2>/dev/null
    chmod 600 "$DIR/munge.key"
    munged --force --key-file="$DIR/munge.key" \
        --socket="$DIR/munge.socket" --pid-file="$DIR/munged.pid" \
        --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge.seed"
    slurmctld
    slurmd
    for _ in $(seq 120); do
        if [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; then
            exit 0
        fi
        sleep 0.5
    done
    echo "the node did not come up:" >&2
    tail -n 20 "$DIR"/log/*.log >&2
    stop
    exit 1
}

stop() {
    local name pid
    scancel --partition=cpu 2>/dev/null || true
    for _ in $(seq 40); do
        if [ -z "$(squeue -h 2>/dev/null)" ]; then
            break
        fi
        sleep 0.5
    done
    for name in $DAEMONS; do
        pid=$(cat "$DIR/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || continue
        for _ in $(seq 20); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
    done
}

case $ACTION in
    start) start ;;
    stop) stop ;;
    *) usage ;;
esac
