#!lua flags=allow-oom
-- pass_on: tells a slice of an ended task's successors; the timer "edges run index offset" is the right to do so, once.
-- USES prelude book flow claiming waking
-- KEYS[1] prefix; built from it: audits zset, timers zset, run:<id> hash, run:<id>:tasks hash, run:<id>:edges hash, run:<id>:events list,
--   run:<id>:graph list, run:<id>:attempts hash, run:<id>:effects hash, idempotency:<digest>,
--   lane:<queue>/<function> zset, lanes zset, waiting zset, waiting:<digest> zset, capabilities:<digest>, inbox:<pod> list
-- ARGV[1] run id   ARGV[2] index, or "root" for the run's first tasks   ARGV[3] offset of the slice   ARGV[4] next offset, '' for the last
-- ARGV[5] edges of the slice
-- RETURNS {"OK", cascades 0|1, {"run state", ...} runs that ended} | {"STALE"}: another pod passed this slice | {"TERMINAL", state}
local id, index, member = ARGV[1], ARGV[2], 'edges ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
if not redis.call('ZSCORE', T .. 'timers', member) then return {'STALE'} end
local run = open_run(id)
old_timers[1] = member
if run.state ~= 'running' then
  write_book()
  return {'TERMINAL', run.state or 'unknown'}
end
local succeeded = index == 'root' or record_of(run, index).state == 'succeeded'
pass_edges(run, index, succeeded, ARGV[5])
if ARGV[4] ~= '' then set_timer(now + 2000, 'edges ' .. id .. ' ' .. index .. ' ' .. ARGV[4]) end
local cascades = run.cascades and 1 or 0
write_and_wake()
return {'OK', cascades, ended_runs}
