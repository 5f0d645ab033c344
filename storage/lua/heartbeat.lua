#!lua flags=allow-oom
-- heartbeat: a living pod keeps what it holds, gets back leases that ran out while Redis was away, and learns what it lost.
-- USES prelude book flow holding returning claiming waking reply
-- KEYS[1] prefix; built from it: pods zset (pod -> deadline ms), pod:<pod> string (description), capabilities:<digest> string,
--   lease:<claim> string, claims:<pod> zset, reply:<pod> string, run:<id> hash, run:<id>:tasks hash, run:<id>:events list,
--   lane:<queue>/<function> zset, lanes zset, waiting zset, waiting:<digest> zset, inbox:<pod> list
-- ARGV[1] pod   ARGV[2] TTL ms   ARGV[3] claims made, or last listed, before this instant (ms) that the pod does not list were never
--   received; 0: this is not the end of the list, note what is listed
-- ARGV[4] capabilities digest   ARGV[5] capabilities, '' when unchanged   ARGV[6] description, '' when unchanged   ARGV[7..] refs held
-- RETURNS {"OK" | "NEW" | "GAP", {lost claim, ...}, {claim to stop, ...}, revived, put back, now ms}
--   GAP: this pod's last deadline had passed, or is far ahead: Redis was away or its clock jumped; do not judge others yet
local pod, ttl, unheard = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local deadline = tonumber(redis.call('ZSCORE', T .. 'pods', pod) or 0)
local word = deadline == 0 and 'NEW' or (deadline < now or deadline > now + 120000) and 'GAP' or 'OK'

local listed, kept, lost, stop = {}, {}, {}, {}
for i = 7, #ARGV do
  local ref = ARGV[i]
  local run, record = held(ref)
  listed[ref] = true
  if not record then lost[#lost + 1] = string.sub(ref, 1, 32)
  else
    kept[#kept + 1] = ref
    if run.state ~= 'running' then stop[#stop + 1] = string.sub(ref, 1, 32) end
  end
end
local put_back, unheard_ops = 0, {}
if unheard > 0 and redis.call('ZCARD', T .. 'claims:' .. pod) > #kept then
  for _, ref in ipairs(redis.call('ZRANGEBYSCORE', T .. 'claims:' .. pod, '-inf', '(' .. ARGV[3], 'LIMIT', 0, #kept + 150)) do
    local run, record = held(ref)
    if not listed[ref] then
      if record then
        give_back(run, record, ref, 'unheard')
        put_back = put_back + 1
        unheard_ops[string.sub(ref, 1, 30)] = true
      else
        drop_lease(ref, pod)
      end
    end
  end
end
local op, answer = without_claims(pod, unheard_ops)

local made = lanes_made()
write_book()
if answer then remember(pod, op, answer) end
redis.call('ZADD', T .. 'pods', now + ttl, pod)
if ARGV[5] ~= '' then redis.call('SET', T .. 'capabilities:' .. ARGV[4], ARGV[5], 'PX', ttl * 12) end
if ARGV[6] ~= '' then redis.call('SET', T .. 'pod:' .. pod, ARGV[6], 'PX', ttl * 12) end
local revived, noted = 0, {}
for _, ref in ipairs(kept) do
  noted[#noted + 1] = digits(now)
  noted[#noted + 1] = ref
  local lease = T .. 'lease:' .. string.sub(ref, 1, 32)
  if redis.call('PEXPIRE', lease, ttl) == 0 then
    redis.call('SET', lease, pod, 'NX', 'PX', ttl)
    revived = revived + 1
  end
end
if unheard == 0 and #noted > 0 then redis.call('ZADD', T .. 'claims:' .. pod, 'XX', unpack(noted)) end
wake(made)
return {word, lost, stop, revived, put_back, now}
