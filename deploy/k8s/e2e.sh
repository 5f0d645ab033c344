#!/usr/bin/env bash
# Tries an installation on the cluster that kubectl points to: applies it, posts a workflow of 1,000 tasks to one pod, deletes pods while it runs,
# restarts all of them, and checks the result through another one. Prints how long each step took; exit status 0 only if every task succeeded.
#
#   deploy/k8s/e2e.sh [--overlay NAME] [--existing] [--keep] [--redis] [DEFINITION.json]
#
#   --overlay NAME   apply deploy/k8s/NAME instead of deploy/k8s
#   --existing       try what runs in the namespace already: nothing is applied, and nothing is removed at the end
#   --keep           leave everything there at the end
#   --redis          delete the pod of Redis, too
#   DEFINITION.json  a definition of your own; it must succeed, and run for about a minute
#
# PEERFLOW_API_KEY is the key for an installation that asks for one; its scopes must have submit and read. Requests are sent from inside of pods,
# with the Python of their image: this machine needs kubectl and nothing else.
set -euo pipefail

namespace=peerflow
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Seconds that each second layer of the generated workflow sleeps: 25 of them, so that the run outlasts what is done to it.
layer_seconds=${E2E_LAYER_SECONDS:-3}
patience=${E2E_TIMEOUT_SECONDS:-300}
overlay='' existing=false keep=false with_redis=false definition=''
while [ $# -gt 0 ]; do
    case $1 in
        --overlay) overlay=${2:?--overlay needs a name}; shift ;;
        --existing) existing=true ;;
        --keep) keep=true ;;
        --redis) with_redis=true ;;
        -h|--help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        -*) echo "unknown option: $1" >&2; exit 2 ;;
        *) definition=$1 ;;
    esac
    shift
done
if [ -n "$definition" ] && [ ! -r "$definition" ]; then
    echo "$definition cannot be read" >&2
    exit 2
fi

times=()
began=$SECONDS
step() { printf '%s\n' "== $1"; began=$SECONDS; }
took() { times+=("$(printf '%6d s  %s' $((SECONDS - began)) "$1")"); }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
k() { kubectl --namespace "$namespace" "$@"; }

# Runs inside of a pod. The first line of its input is the API key; the rest is the body of a POST.
program='
import http.client, json, os, sys
key, _, body = sys.stdin.buffer.read().partition(b"\n")
headers = {"Content-Type": "application/json"}
if key: headers["Authorization"] = "Bearer " + key.decode()
def call(method, path, data=None, **more):
    pod = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PEERFLOW_PORT") or 8000), timeout=30)
    pod.request(method, path, data, {**headers, **more})
    answer = pod.getresponse()
    text = answer.read()
    if answer.status >= 300: sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
    return json.loads(text)
what, name = sys.argv[1:3]
if what == "post":
    print(call("POST", "/workflow", body, **{"Idempotency-Key": name})["run_id"])
elif what == "state":
    run = call("GET", f"/runs/{name}")
    print(run["status"], run["total"] - sum(run["counts"][state] for state in ("pending", "ready", "running", "waiting")), run["total"])
else:
    tasks, cursor = [], ""
    while cursor is not None:
        page = call("GET", f"/runs/{name}/tasks?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
        tasks += page["tasks"]
        cursor = page["next_cursor"]
    ended, after = {}, 0
    while events := call("GET", f"/runs/{name}/events?limit=1000&after={after}")["events"]:
        after += len(events)
        for event in events:
            if event["type"] == "task_succeeded": ended[event["task"]] = ended.get(event["task"], 0) + 1
    run = call("GET", f"/runs/{name}")
    states = {task["id"]: task["status"] for task in tasks}
    problems = [f"{task} is {state}" for task, state in states.items() if state != "succeeded"]
    problems += [f"{task} has succeeded {ended.get(task, 0)} times" for task in states if ended.get(task) != 1]
    if run["status"] != "succeeded" or len(states) != run["total"]:
        problems.append("the run is %s, with %d tasks of %d" % (run["status"], len(states), run["total"]))
    lost = sum(task["lost"] > 0 for task in tasks)
    print("\n".join(problems[:20]) or f"{len(states)} tasks have succeeded, each once; {lost} of them were lost with a pod before")
    sys.exit(bool(problems))
'
# ask POD post|state|check NAME < body
ask() { { printf '%s\n' "${PEERFLOW_API_KEY:-}"; cat; } | k exec --stdin "$1" --container peerflow -- python -I -c "$program" "$2" "$3"; }

# Names of pods that are ready and not on their way out, one a line.
ready_pods() {
    k get pods --selector app.kubernetes.io/name=peerflow,app.kubernetes.io/component=pod --no-headers --output \
        'custom-columns=NAME:.metadata.name,READY:.status.conditions[?(@.type=="Ready")].status,LEAVES:.metadata.deletionTimestamp' |
        awk '$2 == "True" && $3 == "<none>" { print $1 }'
}

# A ready pod that is none of the given ones; waits for one.
pod_but() {
    local deadline=$((SECONDS + patience)) pod
    while [ "$SECONDS" -lt "$deadline" ]; do
        for pod in $(ready_pods); do
            case " $* " in *" $pod "*) ;; *) echo "$pod"; return ;; esac
        done
        sleep 1
    done
    fail "no other pod is ready after $patience s"
}

# Asks whichever pod is ready how far the run is: "running 120 1000". A pod may go while it is asked.
state() {
    local answer tries=0
    while ! answer=$(ask "$(pod_but)" state "$run" </dev/null); do
        tries=$((tries + 1))
        [ "$tries" -lt 30 ] || fail "no pod says how far the run is"
        sleep 1
    done
    echo "$answer"
}

# Waits until so many tasks have ended.
wait_for_tasks() {
    local deadline=$((SECONDS + patience)) status ended total
    while [ "$SECONDS" -lt "$deadline" ]; do
        read -r status ended total <<<"$(state)"
        [ "$ended" -lt "$1" ] || { echo "$ended of $total tasks have ended"; return; }
        [ "$status" = running ] || fail "the run is $status after $ended of $total tasks"
        sleep 1
    done
    fail "fewer than $1 tasks have ended after $patience s"
}

# Fifty layers of twenty tasks; each task waits for two of the layer before.
generate() {
    awk -v seconds="$layer_seconds" 'BEGIN {
        printf "{\"name\": \"e2e\", \"tasks\": {"
        for (layer = 0; layer < 50; layer++) for (column = 0; column < 20; column++) {
            printf "%s\"t%d_%d\": ", (layer + column ? ", " : ""), layer, column
            printf (layer % 2 ? "{\"task\": \"sleep\", \"args\": {\"seconds\": " seconds "}" : "{\"task\": \"task_a\"")
            if (layer) printf ", \"depends_on\": [\"t%d_%d\", \"t%d_%d\"]", layer - 1, column, layer - 1, (column + 1) % 20
            printf "}"
        }
        printf "}}"
    }'
}

made=false
# shellcheck disable=SC2329  # the trap calls it
clean_up() {
    local status=$?
    trap - EXIT
    if [ "$status" -ne 0 ]; then
        printf '\nWhat is there:\n' >&2
        k get pods --output wide >&2 || true
        # Not by their last time: the scheduler's, which say why a pod is pending, have none.
        k get events --sort-by=.metadata.creationTimestamp 2>/dev/null | tail -30 >&2 || true
        k logs --selector app.kubernetes.io/component=pod --tail=20 --prefix >&2 || true
    fi
    if $made && ! $keep; then
        echo "== removing the namespace $namespace, and the data with it"
        kubectl delete namespace "$namespace" --timeout=180s >/dev/null || status=1
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

echo "cluster: $(kubectl config current-context)"
if $existing; then
    kubectl get namespace "$namespace" --output name >/dev/null || fail "there is no namespace $namespace"
else
    if kubectl get namespace "$namespace" --output name >/dev/null 2>&1; then
        fail "the namespace $namespace exists, and this would remove it: use --existing, which changes nothing but pods"
    fi
    step "applying"
    made=true
    if [ -n "$overlay" ]; then kubectl apply -k "$here/$overlay"; else kubectl apply -f "$here"; fi
    took "applied"
fi
step "waiting until all pods are ready"
if k get statefulset peerflow-redis --output name >/dev/null 2>&1; then
    k rollout status statefulset/peerflow-redis --timeout="${patience}s"
fi
k rollout status deployment/peerflow --timeout="${patience}s"
took "all pods are ready"

step "posting a workflow"
first=$(pod_but)
run=$({ if [ -n "$definition" ]; then cat "$definition"; else generate; fi; } | ask "$first" post "e2e-$$-$(date +%s)")
echo "run $run, posted to $first"
took "posted to $first"
run_began=$SECONDS
read -r _ _ total <<<"$(state)"

step "deleting $first by force: the cluster forgets it at once"
wait_for_tasks $((total / 20))
k delete pod "$first" --grace-period=0 --force --wait=false
second=$(pod_but "$first")
wait_for_tasks $((total / 5))
took "went on without $first"

step "deleting $second with its grace period"
k delete pod "$second" --wait=false
wait_for_tasks $((total * 3 / 10))
took "went on without $second"

if $with_redis; then
    step "deleting the pod of Redis"
    k delete pod peerflow-redis-0
    k rollout status statefulset/peerflow-redis --timeout="${patience}s"
    wait_for_tasks $((total * 4 / 10))
    took "went on after a restart of Redis"
fi

step "restarting all pods, one after the other"
k rollout restart deployment/peerflow
k rollout status deployment/peerflow --timeout="${patience}s"
took "all pods restarted"

step "waiting for the end of the run"
wait_for_tasks "$total"
run_seconds=$((SECONDS - run_began))
last=$(pod_but "$first" "$second")
step "checking the result through $last"
ask "$last" check "$run" </dev/null || fail "the result is not what it must be"
took "checked through $last"

printf '\n'
printf '%s\n' "${times[@]}"
printf '%6d s  the run, from its post to its end\nPASSED\n' "$run_seconds"
