-- tally: how much of its log an attempt ("index:attempt"), or the whole run ("*"), keeps. A tally is "first next lines bytes dropped op":
-- its pieces are first … next - 1, and each is "place lines bytes" in a field "index:attempt:number". Places are those of the whole run,
-- counted from 1: first … next - 1 of "*" are in the list now, where an empty text stands for one that is gone.
-- All is changed in memory and written at the end.
local key = T .. 'run:' .. ARGV[1]
local tallies, gone, gone_fields = {}, {}, {}
local left = 500  -- pieces that a call looks at

local function tally_of(name)
  if not tallies[name] then
    local text = redis.call('HGET', key .. ':logged', name)
    local first, following, lines, bytes, dropped, op = string.match(text or '1 1 0 0 0 -', '^(%d+) (%d+) (%d+) (%d+) (%d+) (%S+)')
    tallies[name] = {first = tonumber(first), following = tonumber(following), lines = tonumber(lines), bytes = tonumber(bytes),
                     dropped = tonumber(dropped), op = op, stored = text}
  end
  return tallies[name]
end

local function add(name, lines, bytes, dropped)
  local tally = tally_of(name)
  tally.lines, tally.bytes = math.max(0, tally.lines + lines), math.max(0, tally.bytes + bytes)
  tally.dropped = tally.dropped + dropped
end

local function drop_piece(name, number, place, lines, bytes)
  local tally = tally_of(name)
  if number < tally.first then return end
  tally.first = number + 1
  add(name, -lines, -bytes, lines)
  add('*', -lines, -bytes, lines)
  gone[#gone + 1] = place
  gone_fields[#gone_fields + 1] = name .. ':' .. number
end

-- Drops an attempt's oldest pieces until no more than this is left, as far as a call may look; the rest goes with the next one.
local function trim(name, lines, bytes)
  local tally = tally_of(name)
  if tally.lines <= lines and tally.bytes <= bytes then return end
  local first, names = tally.first, {}
  for place = 1, math.min(tally.following - first, left) do names[place] = name .. ':' .. first + place - 1 end
  if #names == 0 then return end
  for place, piece in ipairs(redis.call('HMGET', key .. ':logged', unpack(names))) do
    if tally.lines <= lines and tally.bytes <= bytes then return end
    left = left - 1
    local at, count, size = string.match(piece or '', '^(%d+) (%d+) (%d+)')
    if at then drop_piece(name, first + place - 1, tonumber(at), tonumber(count), tonumber(size)) else tally.first = first + place end
  end
end

-- Takes what was dropped out of the list: from its head, or by leaving an empty text where it was.
local function write_gone()
  local all, heads = tally_of('*'), 0
  local base = all.first
  table.sort(gone)
  for _, place in ipairs(gone) do
    if place == base + heads then heads = heads + 1
    elseif place > base + heads then redis.call('LSET', key .. ':log', place - base, '') end
  end
  if heads > 0 then redis.call('LPOP', key .. ':log', heads) end
  if #gone_fields > 0 then redis.call('HDEL', key .. ':logged', unpack(gone_fields)) end
  all.first = base + heads
end

-- Writes what has changed, and these fields of new pieces.
local function write_tallies(fields)
  for name, tally in pairs(tallies) do
    local text = table.concat({tally.first, tally.following, digits(tally.lines), digits(tally.bytes), digits(tally.dropped), tally.op}, ' ')
    if text ~= tally.stored then
      fields[#fields + 1] = name
      fields[#fields + 1] = text
    end
  end
  if #fields > 0 then redis.call('HSET', key .. ':logged', unpack(fields)) end
end
