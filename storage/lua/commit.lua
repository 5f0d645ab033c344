#!lua flags=allow-oom
-- commit: running -> succeeded | failed | waiting for a batch of ended attempts, their successors decided, and up to
-- `want` more tasks claimed. A commit by any claim but the task's current one changes nothing.
-- USES prelude book flow holding returning claiming waking reply
-- KEYS[1] prefix; built from it: all keys of claim, and run:<id>:edges hash (index -> finished predecessors),
--   run:<id>:attempts hash ("index:attempt" -> "failed started ended pod ready\nerror"), run:<id>:graph list, run:<id>:effects hash,
--   audits zset, timers zset, idempotency:<digest> string, pods zset
-- ARGV[1..5] operation id, pod, capabilities digest, want (0: no claim), lease TTL ms    ARGV[6] number of attempts, each 7 values:
--   ref, outcome (succeeded failed retry sleep), delay ms (retry, sleep), error line for the event, payload (JSON),
--   successors passed where more remain or '', edges of this call
-- RETURNS {"OK", {word, ...}, {claim, ...}, cascades 0|1, {"run state", ...} runs that ended, lanes left} |
--   {"UNREGISTERED", {word, ...}, {}, cascades, runs that ended, lanes left}
--   word for each attempt: OK | STALE (not its claim any more) | TERMINAL (the run ended first)
local op, pod, digest, want = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local first = repeated(pod, op)
if first then return first end
local stopped, cascades = {}, 0

local function wait_until(run, index, record, kind, delay, payload, slot)
  record.state, record.ended, record.claim = 'waiting', digits(now + delay - run.created), kind == 'retry' and 'backoff' or 'sleep'
  move(run, index, 'running', record, payload)
  set_timer(now + delay, kind .. ' ' .. run.id .. ' ' .. slot)
end

local function settle(ref, outcome, delay, line, payload, passed, edges)
  local run, record = held(ref)
  if not record then return 'STALE' end
  local claim, _, index, flags, priority, lane = split(ref)
  local attempt, detail = record.attempt, line ~= '' and line or nil
  drop_lease(ref, record.pod)
  if run.state ~= 'running' then
    event(run, 'cancelled', index, attempt, record.pod)
    acknowledge(run, index, record)
    return 'TERMINAL'
  end
  event(run, outcome, index, attempt, record.pod, detail)
  if outcome == 'retry' then
    run.log[index .. ':' .. attempt] = table.concat({'failed', record.started, run.now, record.pod, record.ready}, ' ') .. '\n' .. payload
    wait_until(run, index, record, 'retry', delay, payload, table.concat({index, flags, priority, lane}, ' '))
  elseif outcome == 'sleep' then
    wait_until(run, index, record, 'sleep', delay, payload, index .. ' ' .. flags)
  else
    finish(run, index, record, outcome, payload, flags)
    if run.ended then stopped[#stopped + 1] = 'stop ' .. run.id return 'OK' end
    pass_edges(run, index, outcome == 'succeeded', edges)
    if passed ~= '' then set_timer(now + 2000, 'edges ' .. run.id .. ' ' .. index .. ' ' .. passed) end
    if run.cascades then cascades = 1 end
  end
  return 'OK'
end

local words = {}
for i = 1, tonumber(ARGV[6]) do
  local at = 7 * i
  words[i] = settle(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
end

local capabilities, claims, left = want > 0 and capabilities_of(pod, digest), {}, {}
if capabilities then
  local made = lanes_made()
  write_ready()
  claims, left = claim_ready(pod, capabilities, op, want, ARGV[5], made)
  wait_or_work(pod, digest, #claims < want)
  wake(left)
else
  write_and_wake()
end
tell_everyone(stopped)
local answer = {(want == 0 or capabilities) and 'OK' or 'UNREGISTERED', words, claims, cascades, ended_runs}
remember(pod, op, answer)
answer[6] = #left
return answer
