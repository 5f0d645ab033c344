#!lua flags=allow-oom
-- sweep: takes a slice of an ended run's tasks out of the ready queue, and the sleeps and retries of those that wait out of the timers.
-- The timer "sweep run offset" is the right to do so, once.
-- USES prelude
-- KEYS[1] prefix; built from it: timers zset, run:<id> hash (read), lane:<queue>/<function> zset, lanes zset
-- ARGV[1] run id   ARGV[2] offset of the slice   ARGV[3] next offset, '' for the last   ARGV[4] "index flags priority lane" of its tasks
-- RETURNS {"OK", entries taken out} | {"STALE"}: another pod swept this slice | {"RUNNING"}: the run has not ended, nothing was changed
local id, member = ARGV[1], 'sweep ' .. ARGV[1] .. ' ' .. ARGV[2]
if not redis.call('ZSCORE', T .. 'timers', member) then return {'STALE'} end
if redis.call('HGET', T .. 'run:' .. id, 'state') == 'running' then return {'RUNNING'} end
local entries, timers = {}, {member}
for index, flags, priority, lane in string.gmatch(ARGV[4], '(%S+) (%S+) (%S+) (%S+)') do
  timers[#timers + 1] = 'sleep ' .. id .. ' ' .. index .. ' ' .. flags
  timers[#timers + 1] = table.concat({'retry', id, index, flags, priority, lane}, ' ')
  entries[lane] = entries[lane] or {}
  table.insert(entries[lane], id .. ' ' .. index .. ' ' .. flags)
end

local taken = 0
for lane, members in pairs(entries) do
  taken = taken + redis.call('ZREM', T .. 'lane:' .. lane, unpack(members))
  local head = redis.call('ZRANGE', T .. 'lane:' .. lane, 0, 0, 'WITHSCORES')
  if head[2] then redis.call('ZADD', T .. 'lanes', head[2], lane) else redis.call('ZREM', T .. 'lanes', lane) end
end
redis.call('ZREM', T .. 'timers', unpack(timers))
if ARGV[3] ~= '' then redis.call('ZADD', T .. 'timers', now + 2000, 'sweep ' .. id .. ' ' .. ARGV[3]) end
return {'OK', taken}
