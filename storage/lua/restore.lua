#!lua flags=allow-oom
-- restore: ready, running and waiting tasks of a slice are where their next event will find them; what was lost is put back.
-- USES prelude book flow claiming waking
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash, run:<id>:edges hash (read), run:<id>:events list, timers zset,
--   lane:<queue>/<function> zset, lanes zset, claims:<pod> zset, pods zset, counters hash, waiting zset, waiting:<digest> zset,
--   capabilities:<digest>, inbox:<pod> list
-- ARGV[1] run id   ARGV[2] TTL ms for pods that are listed nowhere   ARGV[3] index of the first task, at most 250 follow
-- ARGV[4] tasks as "index in_degree flags priority lane"
-- RETURNS {"OK", a letter for every task (fewer where records are large), {index, edge count, ...} of pending and skipped ones,
--   events before, {what was put back, ...}, {ready, running, waiting, succeeded, failed, skipped, hard failures} as counted}
--   | {"TERMINAL", state}
local id, ttl, index = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local run = open_run(id)
local before = redis.call('LLEN', run.key .. ':events')
if run.state ~= 'running' then return {'TERMINAL', run.state or 'unknown'} end
-- Records are read up to this size in a call: results may be large.
local BYTES = 1048576
local LETTERS = {ready = 'r', running = 'x', waiting = 'w', succeeded = 's', failed = 'f', skipped = 'k'}
local letters, undecided, bytes, what = {}, {}, 0, {}
local heads, listed, lost_refs, lost_pods = {}, {}, {}, {}

local function note(detail, task, record)
  what[#what + 1] = (task and task .. ' ' or '') .. detail
  if not task then event(run, 'run_repaired', nil, nil, nil, detail)
  elseif record.state == 'running' then event(run, 'repaired', task, record.attempt, record.pod, detail)
  else event(run, 'repaired', task, nil, nil, detail) end
end

local look = {}

function look.ready(task, record, flags, priority, lane)
  if heads[lane] == nil then
    local head = redis.call('ZRANGE', T .. 'lane:' .. lane, 0, 0, 'WITHSCORES')[2]
    heads[lane] = head and not redis.call('ZSCORE', T .. 'lanes', lane) and head or false
    if heads[lane] then note('lane ' .. lane) end
  end
  local member = id .. ' ' .. task .. ' ' .. flags
  if redis.call('ZSCORE', T .. 'lane:' .. lane, member) then return end
  enqueue(lane, tonumber(priority), member)
  note('queue', task, record)
end

-- The pod and the reaper decide on a claim that is listed; here it is only listed again, as if the pod had just beaten.
function look.running(task, record, flags, priority, lane)
  local pod, ref = record.pod, table.concat({record.claim, id, task, flags, priority, lane}, ' ')
  if listed[pod] == nil then listed[pod] = redis.call('ZSCORE', T .. 'pods', pod) end
  if listed[pod] and redis.call('ZSCORE', T .. 'claims:' .. pod, ref) then return end
  if not listed[pod] then lost_pods[pod] = true end
  lost_refs[pod] = lost_refs[pod] or {}
  table.insert(lost_refs[pod], digits(now))
  table.insert(lost_refs[pod], ref)
  note('claim', task, record)
end

function look.waiting(task, record, flags, priority, lane)
  local member
  if record.claim == 'backoff' then member = table.concat({'retry', id, task, flags, priority, lane}, ' ')
  elseif record.claim == 'sleep' then member = table.concat({'sleep', id, task, flags}, ' ') end
  if not member or redis.call('ZSCORE', T .. 'timers', member) then return end
  set_timer(run.created + tonumber(record.ended), member)
  note('timer', task, record)
end

for flags, priority, lane in string.gmatch(ARGV[4], '%S+ %S+ (%S+) (%S+) (%S+)') do
  local task = digits(index)
  local record = record_of(run, task)
  letters[#letters + 1] = record and (LETTERS[record.state] or '?') or 'p'
  if not record or record.state == 'skipped' then undecided[#undecided + 1] = task
  elseif look[record.state] then look[record.state](task, record, flags, priority, lane) end
  index = index + 1
  bytes = bytes + (record and #record.text or 0)
  if bytes > BYTES then break end
end
local edges = {}
for at, count in ipairs(#undecided > 0 and redis.call('HMGET', run.key .. ':edges', unpack(undecided)) or {}) do
  if count then edges[#edges + 1] = tonumber(undecided[at]); edges[#edges + 1] = tonumber(count) end
end
local counted = {}
for _, state in ipairs(COUNTED) do counted[#counted + 1] = run.count[state] end
counted[#counted + 1] = run.hard_failures

if #what > 0 then
  local lanes = lanes_made()
  write_book()
  for lane, head in pairs(heads) do
    if head then redis.call('ZADD', T .. 'lanes', 'LT', head, lane); lanes[#lanes + 1] = lane end
  end
  for pod, refs in pairs(lost_refs) do redis.call('ZADD', T .. 'claims:' .. pod, 'NX', unpack(refs)) end
  for pod in pairs(lost_pods) do redis.call('ZADD', T .. 'pods', 'NX', now + ttl, pod) end
  redis.call('HINCRBY', T .. 'counters', 'limbo_repairs', #what)
  wake(lanes)
end
return {'OK', table.concat(letters), edges, before, what, counted}
