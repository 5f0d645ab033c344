#!lua
-- advance: tests only: the partition's clock jumps, and every key ages with it, as they do where a server's clock is set.
-- KEYS[1] prefix; built from it: clock string (ms on top of the server's clock), and whatever is there
-- ARGV[1] ms, less than 0 for a jump back   ARGV[2] pattern of all keys of the partition
-- RETURNS {"OK", ms on top of the server's clock now}
local T, ms = KEYS[1], tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= ms then redis.call('DEL', key) elseif left >= 0 then redis.call('PEXPIRE', key, left - ms) end
end
return {'OK', redis.call('INCRBY', T .. 'clock', ms)}
