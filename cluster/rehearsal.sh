#!/usr/bin/env bash
# A rehearsal of a real cluster on this machine: a head node and two worker nodes with two logical
# GPUs each, a token, and data in an S3 server; everything on the loopback address. It submits a run
# of 2 models × 4 videos with EKS; during the run one worker node is killed and another one joins.
# Then it submits the same run again, which must find everything done.
#
#   uv run cluster/rehearsal.sh        takes about two minutes on an idle machine, leaves nothing behind
#
# Exit code 0 if all went well, else 1.
set -euo pipefail
cd "$(dirname "$0")/.."

folder="$(mktemp -d /tmp/raypose-rehearsal-XXXXXX)"
sessions=()

say() { printf '\n-- %s\n' "$*"; }

# Run a command in the background, in a session of its own, so that all its processes can be found.
background() { # log, command…
    local log="$1"
    shift
    touch "$log"
    setsid "$@" >"$log" 2>&1 &
    sessions+=($!)
}

# Kill all processes of a session, like a machine that loses power.
kill_session() {
    local pids
    while pids="$(ps -o pid= -s "$1")"; do
        # shellcheck disable=SC2086  # one word per process
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
}

# shellcheck disable=SC2317,SC2329  # called by trap
clean_up() {
    code=$?
    trap - EXIT INT TERM
    for session in "${sessions[@]}"; do kill_session "$session"; done
    wait 2>/dev/null || true
    if ((code != 0)); then
        say "the rehearsal failed; the end of each log:"
        tail -n 15 "$folder"/*.log || true
        code=1
    fi
    rm -rf "$folder"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

wait_for() { # log, text, process that writes it
    for _ in $(seq 600); do
        grep -qE "$2" "$1" && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.2
    done
    say "'$2' did not appear in $1"
    return 1
}

free_port() {
    python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

umask 077
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/token"
unset RAY_AUTH_TOKEN RAY_ADDRESS RAY_API_SERVER_ADDRESS
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"
export RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
export RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=2000
export RAYPOSE_CACHE_DIR="$folder/cache"

say "an S3 server with models and videos"
s3_port="$(free_port)"
# Not secrets: the server accepts any.
cat >"$folder/env" <<EOF
AWS_ENDPOINT_URL=http://127.0.0.1:$s3_port
AWS_ACCESS_KEY_ID=rehearsal
AWS_SECRET_ACCESS_KEY=rehearsal
AWS_DEFAULT_REGION=us-east-1
EOF
set -a
# shellcheck source=/dev/null
source "$folder/env"
set +a
background "$folder/s3.log" moto_server -H 127.0.0.1 -p "$s3_port"
wait_for "$folder/s3.log" "Running on" "${sessions[-1]}"
bucket=s3://rehearsal
n_videos=4
python cluster/rehearsal_data.py make "$bucket" "$n_videos"
# From here on only the job has the address and keys of the store, through --env-file.
unset AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_DEFAULT_REGION

say "a head node and two worker nodes"
head_port="$(free_port)"
job_port="$(free_port)"
# Another cluster on this machine may use the default port; without its port an agent takes no jobs.
agent_port="$(free_port)"
worker() { # name
    # Each has its own directory, like a machine: nodes that share one replace each other's copies
    # of the job's files.
    background "$folder/$1.log" ray start --block --address="127.0.0.1:$head_port" \
        --temp-dir="$folder/$1" --num-cpus=1 --num-gpus=2 \
        --dashboard-agent-listen-port="$(free_port)"
    wait_for "$folder/$1.log" "Ray runtime started" "${sessions[-1]}"
    echo "$1 has joined"
}
background "$folder/head.log" ray start --block --head --node-ip-address=127.0.0.1 \
    --port="$head_port" --dashboard-host=127.0.0.1 --dashboard-port="$job_port" \
    --temp-dir="$folder/head" --num-cpus=1 --num-gpus=0 \
    --dashboard-agent-listen-port="$agent_port"
wait_for "$folder/head.log" "Ray runtime started" "${sessions[-1]}"
worker worker-1
worker worker-2
doomed="${sessions[-1]}"

run=(
    raypose submit --address "http://127.0.0.1:$job_port" --env-file "$folder/env" --
    run "$bucket/videos" -m "$bucket/models/member-0" -m "$bucket/models/member-1" --eks
    -o "$bucket/out" --no-metrics --device cpu --batch-size 8
)

say "${run[*]}"
touch "$folder/run.log"
"${run[@]}" > >(tee "$folder/run.log") 2>&1 &
submitted=$!
wait_for "$folder/run.log" "Running on the Ray cluster" "$submitted"
sleep 5 # tasks are under way: a file of output gets a line per minute, which would be too late
say "worker-2 is killed, worker-3 joins"
kill_session "$doomed"
worker worker-3
wait "$submitted"
say "the run has succeeded"
set -a
# shellcheck source=/dev/null
source "$folder/env"
set +a
python cluster/rehearsal_data.py check "$bucket" "$n_videos"

say "the same run again: nothing to do"
"${run[@]}" 2>&1 | tee "$folder/again.log"
grep -q "Nothing to do" "$folder/again.log"

say "all went well"
