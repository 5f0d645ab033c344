#!lua
-- reap: tasks of a pod whose deadline has passed, and whose lease key is gone, are charged as lost and become ready again.
-- USES prelude book flow holding returning claiming waking reply
-- KEYS[1] prefix; built from it: pods zset, claims:<pod> zset, lease:<claim> string, pod:<pod> string, reply:<pod> string,
--   inbox:<pod> list, run:<id> hash, run:<id>:tasks hash, run:<id>:attempts hash, run:<id>:events list, run:<id>:edges hash,
--   run:<id>:graph list, run:<id>:effects hash, idempotency:<digest>, audits zset, timers zset, lane:<queue>/<function> zset,
--   lanes zset, waiting zset, waiting:<digest> zset, capabilities:<digest>
-- ARGV[1] this pod   ARGV[2] its TTL ms   ARGV[3] max_lost   ARGV[4] claims looked at, at most
-- ARGV[5] the server's time (ms) in the last answer to a heartbeat that this pod has heard
-- RETURNS {"OK", put back, failed, ms until somebody may be due (one TTL at most where nobody was), cascades,
--   {"run state", ...} runs that ended, {"lane ms", ...} of the tasks that were put back or failed: how long ago the deadline of the pod
--   passed} | {"GRACE"}: this pod's own deadline has passed, so Redis was away or its clock jumped; nobody is judged | {"LATE"}: this
--   pod has not heard from Redis for so long that the others may not have been heard by it either; nobody is judged before the next
--   answer to a heartbeat
local CAP = 120000
-- The pods by deadline: first those that are dead, last those that are far ahead. Where there are very many, both ends are asked for.
local PODS = 256
local rows = redis.call('ZRANGE', T .. 'pods', 0, PODS - 1, 'WITHSCORES')
local mine, dead, ahead, others, overdue = 0, {}, {}, now + tonumber(ARGV[2]), {}
for i = 1, #rows, 2 do
  local deadline = tonumber(rows[i + 1])
  if rows[i] == ARGV[1] then mine = deadline else others = math.min(others, deadline) end
  if deadline < now and #dead < 10 then
    dead[#dead + 1], overdue[rows[i]] = rows[i], ' ' .. digits(now - deadline)
  elseif deadline > now + CAP then ahead[#ahead + 1] = rows[i] end
end
if #rows == 2 * PODS then
  mine = tonumber(redis.call('ZSCORE', T .. 'pods', ARGV[1]) or 0)
  ahead = redis.call('ZRANGEBYSCORE', T .. 'pods', '(' .. digits(now + CAP), '+inf', 'LIMIT', 0, 100)
end
if mine < now then return {'GRACE'} end
-- Its heartbeat may have waited in a buffer, and this call too: both then arrive before what others send. A pod that runs something
-- beats every third of its TTL, so two thirds are left of its deadline when Redis stops to listen.
if now - tonumber(ARGV[5]) > tonumber(ARGV[2]) * 2 / 3 then return {'LATE'} end
local limit, put_back, failed, stopped, orphans = tonumber(ARGV[4]), 0, 0, {}, {}

local function lose(ref, pod, ops)
  local run, record = held(ref)
  drop_lease(ref, pod)
  if not record then return end
  ops[string.sub(ref, 1, 30)] = true
  local _, _, index, flags, priority, lane = split(ref)
  event(run, 'lost', index, record.attempt, pod)
  if run.state ~= 'running' then return acknowledge(run, index, record) end
  record.lost = record.lost + 1
  orphans[#orphans + 1] = lane .. overdue[pod]
  if record.lost <= tonumber(ARGV[3]) then
    run.log[index .. ':' .. record.attempt] = table.concat({'lost', record.started, run.now, pod, record.ready}, ' ')
    put_back = put_back + 1
    return make_ready(run, index, flags, priority, lane, 'running', record)
  end
  failed = failed + 1
  event(run, 'failed', index, record.attempt, pod, 'Lost')
  finish(run, index, record, 'failed', '{"type":"Lost","message":"the pod that ran this task died or was cut off ' .. record.lost ..
         ' times; max_lost is ' .. ARGV[3] .. '","traceback":null}', flags)
  if run.ended then stopped[#stopped + 1] = 'stop ' .. run.id else set_timer(now, 'edges ' .. run.id .. ' ' .. index .. ' 0') end
end

local gone, later, replies = {}, {}, {}
for _, pod in ipairs(dead) do
  local refs = redis.call('ZRANGE', T .. 'claims:' .. pod, 0, limit)
  local longest, looked, ops = 0, math.min(#refs, limit), {}
  for i = 1, looked do
    local left = redis.call('PTTL', T .. 'lease:' .. string.sub(refs[i], 1, 32))
    if left > 0 and left <= CAP then longest = math.max(longest, left) else lose(refs[i], pod, ops) end
  end
  local op, answer = without_claims(pod, ops)
  if answer then replies[#replies + 1] = {pod, op, answer} end
  if longest > 0 then later[#later + 1] = {pod, longest}
  elseif looked == #refs then gone[#gone + 1] = pod end
  limit = limit - looked
  if limit <= 0 then break end
end

local unread = 0
for _, pod in ipairs(gone) do unread = unread + redis.call('LLEN', T .. 'inbox:' .. pod) end

local made = lanes_made()
write_book()
-- A pod that was only frozen comes back and repeats its last call: the answer is kept, without what the pod has lost.
for _, reply in ipairs(replies) do remember(reply[1], reply[2], reply[3]) end
for _, pod in ipairs(ahead) do redis.call('ZADD', T .. 'pods', now + tonumber(ARGV[2]), pod) end
for _, row in ipairs(later) do redis.call('ZADD', T .. 'pods', now + row[2], row[1]) end
for _, pod in ipairs(gone) do
  redis.call('ZREM', T .. 'pods', pod)
  redis.call('DEL', T .. 'pod:' .. pod, T .. 'claims:' .. pod, T .. 'inbox:' .. pod)
end
if #gone > 0 then stop_waiting(gone) end
wake(made)
-- A wake-up that only the dead got is given to the living.
if unread > 0 then wake(redis.call('ZRANGE', T .. 'lanes', 0, 63)) end
tell_everyone(stopped)
if #dead + #ahead > 0 then others = tonumber(redis.call('ZRANGE', T .. 'pods', 0, 0, 'WITHSCORES')[2]) end
return {'OK', put_back, failed, math.max(0, others - now), failed > 0 and 1 or 0, ended_runs, orphans}
