-- waking: tells idle pods of tasks that nobody has taken. A pod that found nothing stands in waiting:<digest> and blocks
-- on its inbox; the newest is woken first (it is the likeliest to live), and a second one beside it in case it is not. A pod
-- that is left alone looks for itself every 30 s: what has not been renewed for 90 s stands for pods that are gone.
local function wait_or_work(pod, digest, idle)
  local key = T .. 'waiting:' .. digest
  if idle then
    -- A pod that runs a chain is idle after each of its tasks: it is noted again when a second has passed, not each time.
    local noted = redis.call('ZSCORE', key, pod)
    if noted and math.abs(now - tonumber(noted)) < 1000 then return end
    redis.call('ZADD', key, now, pod)
    redis.call('PEXPIRE', key, 90000)
    redis.call('ZADD', T .. 'waiting', now, digest)
    redis.call('ZREMRANGEBYSCORE', T .. 'waiting', '-inf', now - 90000)
  else
    redis.call('ZREM', key, pod)
  end
end

local function tell(pod, ...)
  redis.call('RPUSH', T .. 'inbox:' .. pod, ...)
  redis.call('PEXPIRE', T .. 'inbox:' .. pod, 60000)
end

local function wake_group(digest, lanes)
  local capabilities = redis.call('GET', T .. 'capabilities:' .. digest) or ''
  for _, lane in ipairs(lanes) do
    if serves(capabilities, lane) then
      local pods = redis.call('ZPOPMAX', T .. 'waiting:' .. digest, 2)
      for i = 1, #pods, 2 do tell(pods[i], 'ready') end
      if #pods < 4 then redis.call('ZREM', T .. 'waiting', digest) end
      return
    end
  end
end

local function wake(lanes)
  if #lanes == 0 then return end
  if #lanes > 64 then lanes = {unpack(lanes, 1, 64)} end
  local groups = math.min(128, math.floor(1024 / #lanes))
  for _, digest in ipairs(redis.call('ZREVRANGE', T .. 'waiting', 0, groups - 1)) do wake_group(digest, lanes) end
end

-- Takes pods that are gone out of every group.
local function stop_waiting(pods)
  for _, digest in ipairs(redis.call('ZREVRANGE', T .. 'waiting', 0, 127)) do redis.call('ZREM', T .. 'waiting:' .. digest, unpack(pods)) end
end

-- The lanes that the book is about to fill.
local function lanes_made()
  local lanes = {}
  for lane in pairs(new_ready) do lanes[#lanes + 1] = lane end
  return lanes
end

-- Writes the book and wakes pods for the tasks that it has made ready.
local function write_and_wake()
  local lanes = lanes_made()
  write_book()
  wake(lanes)
end

-- Tells every living pod. "stop <run>": that run has ended, stop what you run for it; a pod that misses it learns it from its
-- heartbeat. "due": there are slices to pass on; a pod that misses it finds them when it looks at the timers.
local function tell_everyone(messages)
  if #messages == 0 then return end
  for _, pod in ipairs(redis.call('ZRANGE', T .. 'pods', 0, 255)) do tell(pod, unpack(messages)) end
end
