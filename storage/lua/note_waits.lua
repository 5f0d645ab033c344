#!lua flags=allow-oom
-- note_waits: why ready tasks stay in their lanes is noted: a new interval where the reason has changed, else the last one lasts longer.
-- USES prelude
-- KEYS[1] prefix; built from it: waits:<lane> list ("code from to", each from not before the last one's to)
-- ARGV[1] ms until notes that nobody adds to go away   ARGV[2] number of notes, at most 64, each 3 values:
--   lane (each once; "*" for all of them), code, ms since when its first task waits
-- RETURNS {"OK", new intervals}
-- Pods look once a second: what was noted last SLACK before this wait began has gone on until now.
local SLACK, KEPT = 2500, 100
local notes, added = {}, 0
for i = 1, math.min(64, tonumber(ARGV[2])) do
  local at = 3 * i
  local key, code, since = T .. 'waits:' .. ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local last = redis.call('LRANGE', key, -1, -1)[1] or ''
  local was, from, to = string.match(last, '^(%S+) (%S+) (%S+)')
  to = tonumber(to or 0)
  if was == code and since <= to + SLACK then
    notes[i] = {key = key, goes_on = true, text = code .. ' ' .. from .. ' ' .. digits(math.max(now, to))}
  else
    local start = math.max(math.min(since, now), to)
    notes[i] = {key = key, text = code .. ' ' .. digits(start) .. ' ' .. digits(math.max(now, start))}
    added = added + 1
  end
end
for _, note in ipairs(notes) do
  if note.goes_on then redis.call('LSET', note.key, -1, note.text) else redis.call('RPUSH', note.key, note.text) end
  redis.call('LTRIM', note.key, -KEPT, -1)
  redis.call('PEXPIRE', note.key, ARGV[1])
end
return {'OK', added}
