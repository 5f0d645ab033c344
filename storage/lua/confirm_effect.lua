#!lua flags=allow-oom
-- confirm_effect: sent -> confirmed, with its result, once for a run, a task and a name.
-- USES prelude book holding noting
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash (read), run:<id>:events list, run:<id>:effects hash (as begin_effect)
-- ARGV[1] operation id of begin_effect   ARGV[2] ref   ARGV[3] name   ARGV[4] result, JSON
-- RETURNS {"OK"}, also when it was this operation that confirmed it before | {"STALE"} not the task's current claim | {"TERMINAL", state} |
--   {"CONFIRMED"} by another operation: nothing is changed
local op, name = ARGV[1], ARGV[3]
local run, record = held(ARGV[2])
local claim, _, index = split(ARGV[2])
local row = redis.call('HMGET', run.key .. ':effects', index .. ':' .. name, index)
local effect, names = read_note(row[1]), row[2] or ''
if effect and effect.state == 'confirmed' and effect.op == op then return {'OK'} end
if not record then return {'STALE'} end
if run.state ~= 'running' then return {'TERMINAL', run.state} end
if effect and effect.state == 'confirmed' then return {'CONFIRMED'} end

-- A server that has forgotten its last second may not know that it was sent: what happened is noted all the same.
event(run, 'effect_confirmed', index, record.attempt, record.pod, name)
write_book()
redis.call('HSET', run.key .. ':effects', index .. ':' .. name,
           note_of('confirmed', record.attempt, claim, op, effect and effect.times or 1) .. '\n' .. ARGV[4],
           index, effect and names or with_name(names, name))
return {'OK'}
