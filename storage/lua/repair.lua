#!lua flags=allow-oom
-- repair: tasks of which no call will hear any more are decided as the record says, and counts become a recount's.
-- USES prelude book flow claiming waking
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash, run:<id>:edges hash, run:<id>:events list, run:<id>:graph list,
--   run:<id>:attempts hash, run:<id>:effects hash, idempotency:<digest>, audits zset, timers zset, counters hash, pods zset,
--   lane:<queue>/<function> zset,
--   lanes zset, waiting zset, waiting:<digest> zset, capabilities:<digest>, inbox:<pod> list
-- ARGV[1] run id   ARGV[2] events when the tasks were read; '' where all decisions are on tasks whose predecessors have all ended
-- ARGV[3] recount "ready running waiting succeeded failed skipped hard_failures", or ''
-- ARGV[4] why nothing of the run can move any more, or ''
-- ARGV[5..] at most 200 of "ready index flags priority lane", "skipped index edge_count cause" (count 0: none), "edges index edge_count",
--   "slice index offset"
-- RETURNS {"OK", {what was repaired, ...}, cascades 0|1, {"run state", ...} runs that ended} | {"TERMINAL", state}
--   | {"MOVED"}: something has happened since the tasks were read | {"BUSY"}: there are slices to be passed on first
local id = ARGV[1]
local run = open_run(id)
if run.state ~= 'running' then return {'TERMINAL', run.state or 'unknown'} end
if ARGV[2] ~= '' and redis.call('LLEN', run.key .. ':events') ~= tonumber(ARGV[2]) then return {'MOVED'} end
-- Slices are due within two seconds; where more timers than these are due, nobody knows whether one is the run's.
local TIMERS = 1000
local timers, own = redis.call('ZRANGEBYSCORE', T .. 'timers', '-inf', digits(now + 2000), 'LIMIT', 0, TIMERS), 'edges ' .. id .. ' '
if #timers == TIMERS then return {'BUSY'} end
for _, member in ipairs(timers) do
  if string.sub(member, 1, #own) == own then return {'BUSY'} end
end
local what = {}

local function note(detail, index)
  what[#what + 1] = (index and index .. ' ' or '') .. detail
  if index then event(run, 'repaired', index, nil, nil, detail) else event(run, 'run_repaired', nil, nil, nil, detail) end
end

local function recount(text)
  local at, changed = 0, false
  for number in string.gmatch(text, '%d+') do
    at = at + 1
    local state, count = COUNTED[at], tonumber(number)
    if state then
      changed = changed or run.count[state] ~= count
      run.count[state] = count
    else
      changed = changed or run.hard_failures ~= count
      run.hard_failures = count
    end
  end
  if changed then note('counts') end
  run.changed = {}
end

local settle = {}

function settle.ready(words)
  local index, flags, priority, lane = string.match(words, '^(%S+) (%S+) (%S+) (%S+)$')
  if record_of(run, index) then return end
  run.edges[index] = {closed = true}
  note('predecessors', index)
  make_ready(run, index, flags, priority, lane, 'pending')
end

function settle.skipped(words)
  local index, count, cause = string.match(words, '^(%S+) (%S+) (.+)$')
  if record_of(run, index) then return end
  run.edges[index] = {count = tonumber(count), closed = count == '0', touched = true}
  note('predecessors', index)
  skip(run, index, cause)
end

function settle.edges(words)
  local index, count = string.match(words, '^(%S+) (%S+)$')
  if (redis.call('HGET', run.key .. ':edges', index) or '0') == count then return end
  run.edges[index] = {count = tonumber(count), closed = count == '0', touched = true}
  note('edges', index)
end

-- A slice that is due later than any call sets one: the server's clock was ahead, and has been set back.
function settle.slice(words)
  local member = own .. words
  if tonumber(redis.call('ZSCORE', T .. 'timers', member) or 0) <= now + 2000 then return end
  set_timer(now, member)
  note('slice ' .. words)
end

if ARGV[3] ~= '' then recount(ARGV[3]) end
for i = 5, #ARGV do
  local word, words = string.match(ARGV[i], '^(%S+) (.+)$')
  settle[word](words)
end
-- While anything can move, the run has not come to its end, whatever the caller has read.
local over = ARGV[4] ~= '' and run.count.ready + run.count.running + run.count.waiting == 0
if over then
  note('dead end')
  end_run(run, 'failed', ARGV[4])
elseif #what == 0 and run.changed and done(run) == run.total then
  note('end')
end
if #what == 0 then return {'OK', {}, 0, {}} end

write_and_wake()
redis.call('HINCRBY', T .. 'counters', 'limbo_repairs', #what)
if over then tell_everyone({'stop ' .. id}) end
return {'OK', what, run.cascades and 1 or 0, ended_runs}
