#!lua flags=allow-oom
-- release: running -> ready at once and uncharged, for claims that a pod gives back; leaving, it also signs off.
-- USES prelude book flow holding returning claiming waking
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:tasks hash, run:<id>:events list, lease:<claim> string, claims:<pod> zset,
--   lane:<queue>/<function> zset, lanes zset, waiting zset, waiting:<digest> zset, capabilities:<digest>, inbox:<pod> list,
--   pods zset, pod:<pod> string, reply:<pod> string
-- ARGV[1] pod   ARGV[2] capabilities digest   ARGV[3] "leave" to sign the pod off, or ''   ARGV[4..] refs
-- RETURNS {"OK", {word, ...}}, a word for each ref: OK | STALE
local pod, words = ARGV[1], {}
for i = 4, #ARGV do
  local run, record = held(ARGV[i])
  words[i - 3] = record and 'OK' or 'STALE'
  if record then give_back(run, record, ARGV[i], 'released') end
end
local made = lanes_made()
write_book()
redis.call('ZREM', T .. 'waiting:' .. ARGV[2], pod)
wake(made)
if ARGV[3] == 'leave' and redis.call('ZCARD', T .. 'claims:' .. pod) == 0 then
  redis.call('ZREM', T .. 'pods', pod)
  redis.call('DEL', T .. 'pod:' .. pod, T .. 'reply:' .. pod, T .. 'inbox:' .. pod)
end
return {'OK', words}
