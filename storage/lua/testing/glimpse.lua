#!lua
-- glimpse: tests only: all that may make something happen in a partition, at one moment.
-- KEYS[1] prefix; built from it: clock string, pods zset, claims:<pod> zset, lanes zset, lane:<queue>/<function> zset, timers zset
-- RETURNS {now ms, {pod, deadline ms, claims held, ...}, {lane, tasks, ...}, {member, due ms, ...}}
local T = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) + (redis.call('GET', T .. 'clock') or '0')
local pods, lanes = {}, {}
local rows = redis.call('ZRANGE', T .. 'pods', 0, -1, 'WITHSCORES')
for i = 1, #rows, 2 do
  for _, value in ipairs({rows[i], rows[i + 1], redis.call('ZCARD', T .. 'claims:' .. rows[i])}) do pods[#pods + 1] = value end
end
for _, lane in ipairs(redis.call('ZRANGE', T .. 'lanes', 0, -1)) do
  lanes[#lanes + 1] = lane
  lanes[#lanes + 1] = redis.call('ZCARD', T .. 'lane:' .. lane)
end
return {string.format('%.0f', now), pods, lanes, redis.call('ZRANGE', T .. 'timers', 0, -1, 'WITHSCORES')}
