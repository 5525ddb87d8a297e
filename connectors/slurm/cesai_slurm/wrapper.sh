#!/bin/sh
# Starts the user's script once and only once, with a known environment, and writes down when and how it ended.
#
#   wrapper.sh FOLDER      FOLDER is the attempt's own: order.sh and script are in it, everything below is written to it
#
#   fence/owner            this launch is the one that runs (or fence/buried: none ever will). Who makes `fence` first, wins
#   fence/started, ended   stamps; ended also has the exit code
#   duplicates/            launches that found the fence taken
#   trouble                what kept the script from starting
#
# Every file is written under another name and then renamed: a reader never sees half of one.
set -u
umask 007
folder=$1
cd "$folder" || exit 74

# CESAI_NODES, CESAI_GPUS_PER_NODE, CESAI_LAUNCHER, CESAI_SEARCH_PATH, CESAI_SLURM_CONF, CESAI_PROJECT_DIR,
# CESAI_CHECKPOINT_DIR and the function cesai_run, which holds the job's environment: quoted words, nothing to execute.
. ./order.sh || exit 74
PATH=$CESAI_SEARCH_PATH
export PATH
job=${SLURM_JOB_ID:-none}
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then job=${SLURM_ARRAY_JOB_ID:-$job}_$SLURM_ARRAY_TASK_ID; fi
restart=${SLURM_RESTART_COUNT:-0}
launch=$job-$restart-$(uname -n)-$$-$(date -u +%s)

now() {
    stamp=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
    case $stamp in
        *N*) date -u +%Y-%m-%dT%H:%M:%SZ ;; # a date that knows no fractions
        *) printf '%s\n' "$stamp" ;;
    esac
}

# put FILE LINE...: the whole file at once, or nothing
put() {
    put_to=$1
    shift
    printf '%s\n' "$@" >"$put_to.$launch.new" && mv -f "$put_to.$launch.new" "$put_to"
}

# Slurm keeps the submit time to itself; a controller that does not answer is not waited for.
submitted() {
    TZ=UTC SLURM_TIME_FORMAT=standard timeout 2 squeue --noheader --states=all --jobs="$job" --format=%V 2>/dev/null </dev/null |
        head -n 1
}

# Folder and owner appear in one step: a rename onto a folder that is not empty fails, on NFS too.
take_fence() {
    mkdir "fence.$launch" || return 2
    printf '%s\n' "job=$job" "submitted=$(submitted)" "restart=$restart" "launch=$launch" >"fence.$launch/owner" || return 2
    mv -T "fence.$launch" fence 2>/dev/null && return 0
    rm -rf "fence.$launch"
    # A server that took the rename and lost its answer: the fence is ours.
    grep -qx "launch=$launch" fence/owner 2>/dev/null && return 0
    [ -d fence ] && return 1
    return 2
}

owner_is_same_job() {
    grep -qx "job=$job" fence/owner 2>/dev/null
}

# Ends quietly. When the same job is launched again (a requeue, a controller that forgot its start), the scheduler will
# take our exit code for the job's: hand on the one of the launch that ran, and never a 0 that nobody earned.
end_as_duplicate() {
    put "duplicates/$launch" "$job" || exit 74
    owner_is_same_job || exit 0
    code=$(sed -n 's/^exit_code=\([0-9]*\)$/\1/p' fence/ended 2>/dev/null)
    exit "${code:-75}"
}

count() {
    printf '%s' "$1" | tr ',' '\n' | grep -c .
}

# What Slurm gave on this node. A controller that was restarted may start a job with none of its GPUs.
given_gpus() {
    for given_list in "${CUDA_VISIBLE_DEVICES:-}" "${ROCR_VISIBLE_DEVICES:-}" "${SLURM_JOB_GPUS:-}"; do
        case $given_list in
            '' | NoDevFiles) ;;
            *) count "$given_list" && return ;;
        esac
    done
    printf '%s\n' "${SLURM_GPUS_ON_NODE:-0}"
}

finish() {
    put fence/ended "at=$(now)" "exit_code=$1"
    exit "$1"
}

# Asked to stop, the script may write its checkpoint; we stay to write down its end.
child= asked=
forward() {
    asked=$1
    if [ -n "$child" ]; then kill -s "$1" "$child" 2>/dev/null; fi
}
trap 'forward TERM' TERM
trap 'forward INT' INT
trap 'forward USR1' USR1
trap 'forward USR2' USR2

began=$(now)
take_fence
case $? in
    0) ;;
    1) end_as_duplicate ;;
    *)
        put trouble "the fence cannot be written: is the file system full?"
        exit 74
        ;;
esac
put fence/started "at=$began" || exit 74

gpus=$(given_gpus)
if [ "$gpus" -lt "$CESAI_GPUS_PER_NODE" ]; then
    put trouble "Slurm started the job with $gpus of $CESAI_GPUS_PER_NODE GPUs on $(uname -n)"
    finish 71
fi
mkdir -p "$CESAI_CHECKPOINT_DIR" || finish 73

user=${USER:-$(id -un)}
home=${HOME:-$(getent passwd "$user" | cut -d: -f6)}
# The list is explicit: --export=NIL alone loads the account's login environment on 22.05 and no PATH on 24.11.
set -- "PATH=$PATH" "HOME=${home:-/}" "USER=$user" "SLURM_CONF=${SLURM_CONF:-$CESAI_SLURM_CONF}"
for name in $(env | sed -n 's/^\(SLURM_[A-Z0-9_]*\)=.*/\1/p') \
    CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES ZE_AFFINITY_MASK GPU_DEVICE_ORDINAL; do
    case $name in
        SLURM_EXPORT_ENV | SLURM_CONF) continue ;; # srun would give its tasks no PATH
    esac
    eval "value=\${$name-}"
    if [ -n "$value" ]; then set -- "$@" "$name=$value"; fi
done
if [ "$CESAI_LAUNCHER" = srun ]; then
    set -- "$@" srun --kill-on-bad-exit=1 --nodes="$CESAI_NODES" --ntasks-per-node="$CESAI_GPUS_PER_NODE"
fi

cd "$CESAI_PROJECT_DIR" || finish 73
cesai_run "$@" </dev/null &
child=$!
cd "$folder" || exit 74
if [ -n "$asked" ]; then kill -s "$asked" "$child" 2>/dev/null; fi
while :; do
    wait "$child"
    code=$?
    # A signal to us ends `wait` early; the child is there until it has been waited for.
    kill -0 "$child" 2>/dev/null || break
done
finish "$code"
