-- reply: the last answer of a pod's claim lane, so that a call repeated after a lost reply gets the first answer.
-- reply:<pod> holds the operation id (30 hex digits) and the packed answer.
local function repeated(pod, op)
  local kept = redis.call('GET', T .. 'reply:' .. pod)
  if kept and string.sub(kept, 1, 30) == op then return cmsgpack.unpack(string.sub(kept, 31)) end
  return nil
end

local function remember(pod, op, answer)
  redis.call('SET', T .. 'reply:' .. pod, op .. cmsgpack.pack(answer), 'PX', 600000)
end

-- Takes the claims out of the kept answer to `op`: they went back to the queue because the pod never heard of them.
local function forget_claims(pod, op)
  local answer = repeated(pod, op)
  if not answer then return end
  answer[3] = {}
  remember(pod, op, answer)
end
