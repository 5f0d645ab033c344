#!lua flags=allow-oom
-- heads: a run and the first lines of task records, without results and errors, as they are at one moment.
-- USES prelude
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash, run:<id>:edges hash, run:<id>:attempts hash, run:<id>:events list
-- ARGV[1] run id   ARGV[2] fields of the run, joined by spaces   ARGV[3] earlier attempts told of each task, at most
-- ARGV[4..] indices, at most 500
-- RETURNS {"OK", now ms, events so far, {field or "", ...}, {{head or "", predecessors that ended or "", "attempt head", ...}, ...}}
local key, fields, indices, rows = T .. 'run:' .. ARGV[1], {}, {}, {}
for name in string.gmatch(ARGV[2], '%S+') do fields[#fields + 1] = name end
for i = 4, #ARGV do indices[#indices + 1] = ARGV[i] end
local run, records, edges = redis.call('HMGET', key, unpack(fields)), {}, {}
if #indices > 0 then
  records = redis.call('HMGET', key .. ':tasks', unpack(indices))
  edges = redis.call('HMGET', key .. ':edges', unpack(indices))
end
for i, value in ipairs(run) do run[i] = value or '' end

local left = 2000
for i, index in ipairs(indices) do
  local head = records[i] and string.match(records[i], '^[^\n]*') or ''
  local row = {head, edges[i] and digits(tonumber(edges[i]) % 131072) or ''}
  local attempts = tonumber(string.match(head, '^%S+ (%S+)') or 0)
  local names = {}
  local told = math.min(attempts, tonumber(ARGV[3]))
  for place = 1, told do
    if left > 0 then names[#names + 1] = index .. ':' .. attempts - told + place end
    left = left - 1
  end
  if #names > 0 then
    for place, value in ipairs(redis.call('HMGET', key .. ':attempts', unpack(names))) do
      if value then row[#row + 1] = string.match(names[place], '%d+$') .. ' ' .. string.match(value, '^[^\n]*') end
    end
  end
  rows[i] = row
end
return {'OK', digits(now), redis.call('LLEN', key .. ':events'), run, rows}
