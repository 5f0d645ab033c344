#!lua flags=allow-oom
-- cancel: running -> cancelled for a whole run. No task of it starts from now on and no commit is accepted; pods are asked to stop.
-- USES prelude book flow claiming waking access
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:events list, run:<id>:tasks, run:<id>:edges, run:<id>:graph, run:<id>:attempts,
--   run:<id>:effects, idempotency:<digest>, audits zset, timers zset, pods zset, inbox:<pod> list,
--   access stream
-- ARGV[1] run id   ARGV[2] reason   ARGV[3] caller, '' where nobody was asked   ARGV[4] entries of access kept
-- RETURNS {"OK", "cancelled"}, also when it was cancelled before | {"TERMINAL", state} | {"UNKNOWN"}
local run = open_run(ARGV[1])
if not run.state then return {'UNKNOWN'} end
local state, named = run.state, ARGV[3] ~= ''
local tenant = named and redis.call('HGET', run.key, 'tenant') or ''
if state ~= 'running' then
  if named then note_access(ARGV[3], tenant, 'cancel', ARGV[1], 'already ' .. state, ARGV[4]) end
  return state == 'cancelled' and {'OK', state} or {'TERMINAL', state}
end
end_run(run, 'cancelled', ARGV[2], ARGV[3])
write_book()
if named then note_access(ARGV[3], tenant, 'cancel', ARGV[1], 'cancelled', ARGV[4]) end
tell_everyone({'stop ' .. ARGV[1]})
return {'OK', 'cancelled'}
