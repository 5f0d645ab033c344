#!lua
-- take_token: one token out of a caller's bucket, which fills at a steady rate up to its size.
-- USES prelude
-- KEYS[1] prefix; built from it: tokens:<digest> hash (level in thousandths, at us)
-- ARGV[1] digest of the caller   ARGV[2] tokens a second, in thousandths   ARGV[3] size of the bucket
-- RETURNS {"OK", tokens left, ms until the bucket is full} | {"EMPTY", ms until there is a token, ms until the bucket is full}
local key, rate, size = T .. 'tokens:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]) * 1000
local row = redis.call('HMGET', key, 'level', 'at')
-- A clock that was set back gives nothing, and takes nothing.
local passed_us = row[2] and math.max(0, now_us - tonumber(row[2])) or 0
local level = math.min(size, (tonumber(row[1] or size)) + passed_us * rate / 1000000)
if level < 1000 then
  return {'EMPTY', math.ceil((1000 - level) / rate * 1000), math.ceil((size - level) / rate * 1000)}
end
level = level - 1000
local full_ms = math.ceil((size - level) / rate * 1000)
redis.call('HSET', key, 'level', digits(level), 'at', digits(now_us))
redis.call('PEXPIRE', key, full_ms)
return {'OK', math.floor(level / 1000), full_ms}
