#!lua
-- append_log: lines that attempts of a run have printed or logged are put at the end of its log, and the oldest go where it is too large.
-- USES prelude tally
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash (read), run:<id>:log list, run:<id>:logged hash
-- ARGV[1] run id   ARGV[2] pod   ARGV[3] lines and ARGV[4] bytes that an attempt keeps   ARGV[5] bytes that the run keeps
-- ARGV[6..] for each batch, at most 64: index, attempt, operation id, lines in the body, lines dropped before it, body
-- RETURNS {"OK", {word, ...}}, a word for each batch: OK, STALE where no such attempt is known, FULL where it was only counted as dropped
--   | {"UNKNOWN"} where there is no such run
-- Claims are not compared. A line says what code did, not what the run's state is, and it belongs to its attempt whoever has the task by
-- now: what an attempt prints that was taken for dead is worth knowing. An attempt that was given back uncharged has no number in the
-- record any more; its successor gets the same one.
-- A piece of the list is "ms index:attempt number lines dropped pod", then "\n" and the body.
local run = redis.call('HMGET', T .. 'run:' .. ARGV[1], 'state', 'logged')
if not run[1] then return {'UNKNOWN'} end
local most_lines, most_bytes, most_of_run = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local expires, all = redis.call('PTTL', key), tally_of('*')
-- Where one of the two keys was lost, places go on behind what there is.
local there = redis.call('LLEN', key .. ':log')
all.first = math.max(1, all.following - there)
all.following = all.first + there

-- What the whole run has too much of goes from its head, up to eight pieces in a call: each may be large.
local growth = 0
for i = 11, #ARGV, 6 do growth = growth + #ARGV[i] end
if all.bytes + growth > most_of_run then
  for at, piece in ipairs(redis.call('LRANGE', key .. ':log', 0, 7)) do
    if all.bytes + growth > most_of_run then
      local name, number, lines, body = string.match(piece, '^%S+ (%S+) (%S+) (%S+) [^\n]*\n(.*)$')
      if name then drop_piece(name, tonumber(number), all.first + at - 1, tonumber(lines), #body) else gone[#gone + 1] = all.first + at - 1 end
    end
  end
end

local words, batches, fields, known = {}, {}, {}, false
for i = 6, #ARGV, 6 do
  local name, lines, dropped, bytes = ARGV[i] .. ':' .. ARGV[i + 1], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), #ARGV[i + 5]
  local record = parse(redis.call('HGET', key .. ':tasks', ARGV[i]))
  local word = 'OK'
  if not record or tonumber(ARGV[i + 1]) > record.attempt + 1 then word = 'STALE'
  elseif tally_of(name).op ~= ARGV[i + 2] then
    trim(name, most_lines - lines, most_bytes - bytes)
    local tally = tally_of(name)
    if all.bytes + bytes > most_of_run * 1.25 then word, dropped, lines, bytes = 'FULL', dropped + lines, 0, 0 end
    add(name, lines, bytes, dropped)
    add('*', lines, bytes, dropped)
    tally.op = ARGV[i + 2]
    if word == 'OK' then
      batches[#batches + 1] = {name = name, number = tally.following, at = i}
      tally.following = tally.following + 1
    end
  end
  known = known or word ~= 'STALE'
  words[#words + 1] = word
end
if not known then return {'OK', words} end

local pieces = {}
for place, batch in ipairs(batches) do
  local at = batch.at
  pieces[place] = table.concat({digits(now), batch.name, batch.number, ARGV[at + 3], ARGV[at + 4], ARGV[2]}, ' ') .. '\n' .. ARGV[at + 5]
  fields[#fields + 1] = batch.name .. ':' .. batch.number
  fields[#fields + 1] = all.following .. ' ' .. ARGV[at + 3] .. ' ' .. #ARGV[at + 5]
  all.following = all.following + 1
end
write_gone()
if #pieces > 0 then redis.call('RPUSH', key .. ':log', unpack(pieces)) end
write_tallies(fields)
if not run[2] then redis.call('HSET', key, 'logged', 1) end
if expires > 0 then
  redis.call('PEXPIRE', key .. ':log', expires)
  redis.call('PEXPIRE', key .. ':logged', expires)
end
return {'OK', words}
