#!lua flags=allow-oom
-- cancel: running -> cancelled for a whole run. No task of it starts from now on and no commit is accepted; pods are asked to stop.
-- USES prelude book flow claiming waking
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:events list, run:<id>:tasks, run:<id>:edges, run:<id>:graph, run:<id>:attempts,
--   run:<id>:effects, idempotency:<digest>, audits zset, timers zset, pods zset, inbox:<pod> list
-- ARGV[1] run id   ARGV[2] reason
-- RETURNS {"OK", "cancelled"}, also when it was cancelled before | {"TERMINAL", state} | {"UNKNOWN"}
local run = open_run(ARGV[1])
if not run.state then return {'UNKNOWN'} end
if run.state == 'cancelled' then return {'OK', 'cancelled'} end
if run.state ~= 'running' then return {'TERMINAL', run.state} end
end_run(run, 'cancelled', ARGV[2])
write_book()
tell_everyone({'stop ' .. ARGV[1]})
return {'OK', 'cancelled'}
