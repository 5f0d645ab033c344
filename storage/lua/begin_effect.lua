#!lua flags=allow-oom
-- begin_effect: an attempt is about to act on the outside world under a name, and every later attempt will know.
-- USES prelude book holding noting
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash (read), run:<id>:events list, run:<id>:effects hash
--   ("index:name" -> "sent|confirmed attempt claim op times", then "\n" and the result once it is confirmed; "index" -> the names of
--   the task's effects in order)
-- ARGV[1] operation id   ARGV[2] ref   ARGV[3] name   ARGV[4] names a task may have   ARGV[5] "run" to begin again what was begun
--   before and never confirmed, "fail" to leave it as it is
-- RETURNS {"OK", "new"} | {"OK", "unknown"}: begun before, and never confirmed | {"OK", "confirmed", result} |
--   {"STALE"} not the task's current claim | {"TERMINAL", state} | {"FULL"} the task has as many other names
local op, name = ARGV[1], ARGV[3]
local run, record = held(ARGV[2])
local claim, _, index = split(ARGV[2])
local row = redis.call('HMGET', run.key .. ':effects', index .. ':' .. name, index)
local effect, names = read_note(row[1]), row[2] or ''
if not record then return {'STALE'} end
if run.state ~= 'running' then return {'TERMINAL', run.state} end
if effect and effect.state == 'confirmed' then return {'OK', 'confirmed', effect.result} end
if effect and effect.op == op then return {'OK', effect.times == 1 and 'new' or 'unknown'} end
if effect and ARGV[5] == 'fail' then return {'OK', 'unknown'} end
if not effect and count_names(names) >= tonumber(ARGV[4]) then return {'FULL'} end

local times = effect and effect.times + 1 or 1
-- Once for each attempt: code that begins again and again must not fill the run's history.
if not effect or effect.claim ~= claim then event(run, 'effect_sent', index, record.attempt, record.pod, name) end
write_book()
redis.call('HSET', run.key .. ':effects', index .. ':' .. name, note_of('sent', record.attempt, claim, op, times),
           index, effect and names or with_name(names, name))
return {'OK', times == 1 and 'new' or 'unknown'}
