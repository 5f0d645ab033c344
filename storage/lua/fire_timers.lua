#!lua flags=allow-oom
-- fire_timers: what is due by the server's clock happens, once: retries become ready, sleeps succeed, expired runs are forgotten.
-- USES prelude book flow claiming waking
-- KEYS[1] prefix; built from it: timers zset (member -> due ms), runs zset, runs:<tenant> zset, run:<id> hash, run:<id>:tasks hash, run:<id>:events list,
--   audits zset, run:<id>:edges hash, run:<id>:graph list, run:<id>:attempts hash, run:<id>:effects hash, idempotency:<digest>,
--   lane:<queue>/<function> zset, lanes zset, waiting zset, waiting:<digest> zset, capabilities:<digest>, inbox:<pod> list
-- Members: "retry run index flags priority lane", "sleep run index flags", "edges run index offset", "sweep run offset",
--   "forget run", "unlist run tenant" (forget for a run of a tenant that is not the default one)
-- ARGV[1] how many at most
-- RETURNS {"OK", {"run index offset", ...} slices for this pod to pass on, or to sweep where the index is "sweep",
--   ms until the next timer or -1, fired, {"run state", ...} runs that ended}
local function until_the_next()
  local head = redis.call('ZRANGE', T .. 'timers', 0, 0, 'WITHSCORES')
  return head[2] and math.max(0, tonumber(head[2]) - now) or -1
end

-- Most looks find nothing due, and cost this one command.
local left = until_the_next()
if left ~= 0 then return {'OK', {}, left, 0, {}} end
local due = redis.call('ZRANGEBYSCORE', T .. 'timers', '-inf', now, 'LIMIT', 0, ARGV[1])
local slices, forgotten, unlisted, fired = {}, {}, {}, 0

local function waiting(run, index, reason)
  local record = run.state == 'running' and record_of(run, index)
  if record and record.state == 'waiting' and record.claim == reason then return record end
end

local fire = {}

function fire.retry(member)
  local id, index, flags, priority, lane = string.match(member, '^retry (%S+) (%S+) (%S+) (%S+) (%S+)$')
  local run = open_run(id)
  local record = waiting(run, index, 'backoff')
  if record then make_ready(run, index, flags, priority, lane, 'waiting', record) end
end

function fire.sleep(member)
  local id, index, flags = string.match(member, '^sleep (%S+) (%S+) (%S+)$')
  local run = open_run(id)
  local record = waiting(run, index, 'sleep')
  if not record then return end
  event(run, 'succeeded', index, record.attempt, record.pod)
  finish(run, index, record, 'succeeded', string.match(record.text, '\n(.*)$'), flags)
  set_timer(now + 2000, 'edges ' .. id .. ' ' .. index .. ' 0')
  slices[#slices + 1] = id .. ' ' .. index .. ' 0'
end

function fire.edges(member)
  set_timer(now + 2000, member)
  slices[#slices + 1] = string.sub(member, 7)
  return true
end

function fire.sweep(member)
  set_timer(now + 2000, member)
  slices[#slices + 1] = string.gsub(member, '^sweep (%S+) (%S+)$', '%1 sweep %2')
  return true
end

function fire.forget(member) forgotten[#forgotten + 1] = string.sub(member, 8) end

function fire.unlist(member)
  local id, tenant = string.match(member, '^unlist (%S+) (.+)$')
  forgotten[#forgotten + 1] = id
  unlisted[tenant] = unlisted[tenant] or {}
  table.insert(unlisted[tenant], id)
end

for _, member in ipairs(due) do
  local kind = fire[string.match(member, '^%S+')]
  -- A kind that this version does not know belongs to pods of a newer one: it is left to them.
  if not kind then set_timer(now + 2000, member)
  elseif not kind(member) then old_timers[#old_timers + 1] = member end
  fired = fired + 1
end
if fired > 0 then write_and_wake() end
if #forgotten > 0 then redis.call('ZREM', T .. 'runs', unpack(forgotten)) end
for tenant, ids in pairs(unlisted) do redis.call('ZREM', T .. 'runs:' .. tenant, unpack(ids)) end
return {'OK', slices, until_the_next(), fired, ended_runs}
