-- prelude: the server's clock, the partition's key prefix, and the one form of a task record.
-- KEYS[1] is the prefix "{namespace:partition}:"; every key a script builds starts with it, so all share a slot.
local T = KEYS[1]
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

-- A number as decimal digits: Lua's own tostring() rounds past 14 of them.
local function digits(number) return string.format('%.0f', number) end

-- A task record is "state attempt lost token ready started ended pod claim", then "\n" and a payload if there is one.
-- The token stays text, since Lua's numbers print 14 digits only. Times are ms since the run's creation, "-" where not known. The last field is the claim while running,
-- the reason (backoff, sleep) while waiting.
local function parse(text)
  if not text then return nil end
  local state, attempt, lost, token, ready, started, ended, pod, claim =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
  return {state = state, attempt = tonumber(attempt), lost = tonumber(lost), token = token,
          ready = ready, started = started, ended = ended, pod = pod, claim = claim, text = text}
end
