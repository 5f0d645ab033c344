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

-- The kept answer without its claims, where its operation is one of `ops`: they went back to the queue, so no repeated call may
-- hand them out. Answers operation and answer for remember(), or nil.
local function without_claims(pod, ops)
  local kept = next(ops) and redis.call('GET', T .. 'reply:' .. pod)
  local op = kept and string.sub(kept, 1, 30)
  if not op or not ops[op] then return nil end
  local answer = cmsgpack.unpack(string.sub(kept, 31))
  answer[3] = {}
  return op, answer
end
