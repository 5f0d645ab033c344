#!lua
-- stage_run: one part of a large definition waits, unseen, for create_run; it goes away by itself if that never comes.
-- USES prelude
-- KEYS[1] prefix; built from it: run:<id>:graph list (packed definition in parts), run:<id> hash (read)
-- ARGV[1] run id   ARGV[2] number of the part, from 0   ARGV[3] the part   ARGV[4] ms until an unfinished creation vanishes
-- RETURNS {"OK", parts held} | {"GAP", parts held}: an earlier part is missing, start again
local key = T .. 'run:' .. ARGV[1] .. ':graph'
local parts = redis.call('LLEN', key)
local number = tonumber(ARGV[2])
if redis.call('EXISTS', T .. 'run:' .. ARGV[1]) == 1 or number < parts then return {'OK', parts} end
if number > parts then return {'GAP', parts} end
redis.call('RPUSH', key, ARGV[3])
redis.call('PEXPIRE', key, ARGV[4])
return {'OK', parts + 1}
