-- noting: what a run remembers of its tasks' effects. A note is "state attempt claim op times", then "\n" and a result if it is
-- confirmed: which attempt sent or confirmed it last, with which claim, in which operation, and how often it was begun.
local function read_note(text)
  if not text then return nil end
  local state, claim, op, times = string.match(text, '^(%S+) %S+ (%S+) (%S+) (%d+)')
  return {state = state, claim = claim, op = op, times = tonumber(times), result = string.match(text, '\n(.*)$')}
end

local function note_of(state, attempt, claim, op, times) return table.concat({state, attempt, claim, op, times}, ' ') end

local function with_name(names, name) return names == '' and name or names .. ' ' .. name end

local function count_names(names)
  local _, count = string.gsub(names, '%S+', '')
  return count
end
