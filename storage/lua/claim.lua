#!lua
-- claim: ready -> running, for up to `want` tasks that this pod can run; an idle pod is woken when there is more.
-- USES prelude book flow claiming waking reply
-- KEYS[1] prefix; built from it: capabilities:<digest> string, lanes zset, lane:<queue>/<function> zset ("run index flags" -> score),
--   run:<id> hash, run:<id>:tasks hash, run:<id>:events list, lease:<claim> string, claims:<pod> zset (ref -> claimed ms),
--   waiting zset, waiting:<digest> zset, inbox:<pod> list, reply:<pod> string, pods zset (read)
-- ARGV[1] operation id, 30 hex digits   ARGV[2] pod   ARGV[3] capabilities digest   ARGV[4] want, at most 256   ARGV[5] lease TTL ms
-- RETURNS {"OK", {}, {claim, ...}, 0, {}, lanes left} | {"UNREGISTERED"}; a claim is "ref attempt lost token ready_at_ms", its id the
--   operation id and two hex digits; lanes left hold ready tasks after the call, other pods' lanes too, and are not told again
local op, pod, digest, want = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local first = repeated(pod, op)
if first then return first end
local capabilities = capabilities_of(pod, digest)
if not capabilities then return {'UNREGISTERED'} end
local claims, left = claim_ready(pod, capabilities, op, want, ARGV[5], {})
wait_or_work(pod, digest, #claims < want)
wake(left)
local answer = {'OK', {}, claims, 0}
if #claims > 0 then remember(pod, op, answer) end
return {'OK', {}, claims, 0, {}, #left}
