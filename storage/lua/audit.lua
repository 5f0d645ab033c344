#!lua flags=allow-oom
-- audit: live runs in which nothing has happened for a while are handed out to be looked at, less and less often while it stays so.
-- USES prelude
-- KEYS[1] prefix; built from it: audits zset (run -> ms from which its quiet counts; * -> ms from which to walk again), runs zset,
--   run:<id> hash (read), run:<id>:events list (read)
-- ARGV[1] ms without an event after which a run is quiet   ARGV[2] longest time between two looks at a quiet run, ms
-- ARGV[3] runs handed out, at most   ARGV[4] place in `runs` from which this call looks for live runs that `audits` does not list
-- ARGV[5] ms from the end of such a walk to the beginning of the next
-- RETURNS {"OK", {run, ...} quiet runs, ms until another may be quiet or -1, place for the next call}
local WALK = 50
local quiet, longest, place, again = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local first = redis.call('ZRANGE', T .. 'audits', 0, 1, 'WITHSCORES')
-- Without live runs, which is when a pod should cost nothing, that is all.
local only = first[1] == '*' and not first[3]
local walked = tonumber(only and first[2] or first[1] and redis.call('ZSCORE', T .. 'audits', '*') or 0)
local walks = walked <= now or walked > now + again
if only and not walks then return {'OK', {}, -1, 0} end
local ENDED = {succeeded = true, failed = true, cancelled = true}
local due = redis.call('ZRANGEBYSCORE', T .. 'audits', '-inf', digits(now - quiet), 'LIMIT', 0, ARGV[3])
-- Instants that no call has set by this clock: it was ahead, and has been set back.
local ahead = redis.call('ZRANGEBYSCORE', T .. 'audits', '(' .. digits(now + longest), '+inf', 'LIMIT', 0, ARGV[3])
for _, id in ipairs(ahead) do due[#due + 1] = id end

local found, scored, gone = {}, {}, {}
for _, id in ipairs(due) do
  local row = id == '*' or redis.call('HMGET', T .. 'run:' .. id, 'state', 'created')
  if row == true then -- no run
  elseif not row[1] or ENDED[row[1]] then gone[#gone + 1] = id
  else
    local last = redis.call('LINDEX', T .. 'run:' .. id .. ':events', -1)
    local still = math.max(0, now - tonumber(row[2]) - tonumber(last and string.match(last, '^%d+') or 0))
    scored[#scored + 1] = digits(now - still)
    if still >= quiet then
      scored[#scored] = digits(now + math.min(still, longest) - quiet)
      if row[1] == 'running' then found[#found + 1] = id end
    end
    scored[#scored + 1] = id
  end
end

-- Where `audits` was lost, live runs come back to it by a walk over `runs`, a page in each call.
local listed, missing, expired = walks and redis.call('ZRANGE', T .. 'runs', place, place + WALK - 1) or {}, {}, {}
for _, id in ipairs(listed) do
  local state = redis.call('HGET', T .. 'run:' .. id, 'state')
  if not state then expired[#expired + 1] = id
  elseif not ENDED[state] then missing[#missing + 1] = digits(now); missing[#missing + 1] = id end
end

if #gone > 0 then redis.call('ZREM', T .. 'audits', unpack(gone)) end
if #scored > 0 then redis.call('ZADD', T .. 'audits', unpack(scored)) end
if #missing > 0 then redis.call('ZADD', T .. 'audits', 'NX', unpack(missing)) end
if #expired > 0 then redis.call('ZREM', T .. 'runs', unpack(expired)) end
if walks and #listed < WALK then redis.call('ZADD', T .. 'audits', now + again, '*') end
local head = redis.call('ZRANGE', T .. 'audits', 0, 1, 'WITHSCORES')
if head[1] == '*' then head = {head[3], head[4]} end
return {'OK', found, head[2] and math.max(0, tonumber(head[2]) + quiet - now) or -1, #listed == WALK and place + WALK - #expired or 0}
