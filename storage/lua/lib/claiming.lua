-- claiming: hands ready tasks to a pod, and wakes pods for those that are left.
-- A lane is "queue/function". A pod's capabilities are one string " q:default f:task_a f:task_b ", stored once for all
-- pods that have the same, under its digest: a pod looks only at lanes that it can serve.
local LOOK, LANES = 1000, 1024

local function serves(capabilities, lane)
  local queue, fn = string.match(lane, '^([^/]*)/(.*)$')
  return string.find(capabilities, ' q:' .. queue .. ' ', 1, true) and string.find(capabilities, ' f:' .. fn .. ' ', 1, true)
end

local function open_lanes(capabilities)
  local rows, mine, others = redis.call('ZRANGE', T .. 'lanes', 0, LANES - 1, 'WITHSCORES'), {}, {}
  for i = 1, #rows, 2 do
    if serves(capabilities, rows[i]) then
      mine[#mine + 1] = {name = rows[i], key = T .. 'lane:' .. rows[i], head = tonumber(rows[i + 1]), from = 0, at = 1, rows = {}, taken = {}}
    else
      others[#others + 1] = rows[i]
    end
  end
  return mine, others
end

-- The lane whose first task is due first, and the head of the next one: up to there the first may be read alone.
local function best_of(lanes)
  local best, bound
  for _, lane in ipairs(lanes) do
    if lane.head and (not best or lane.head < best.head) then
      if best then bound = best.head end
      best = lane
    elseif lane.head and (not bound or lane.head < bound) then
      bound = lane.head
    end
  end
  return best, bound or math.huge
end

local function advance(lane, want)
  lane.at = lane.at + 2
  if lane.at > #lane.rows then
    lane.rows = redis.call('ZRANGE', lane.key, lane.from, lane.from + want - 1, 'WITHSCORES')
    lane.from, lane.at = lane.from + #lane.rows / 2, 1
  end
  lane.head = tonumber(lane.rows[lane.at + 1])
end

-- Takes one queue entry: a claim if the task is still to be run, nothing if its run ended meanwhile.
local function take(entry, lane, priority, pod, claim)
  local id, index, flags = string.match(entry, '^(%S+) (%S+) (%S+)$')
  local run = open_run(id)
  local record = run.state == 'running' and record_of(run, index)
  if not record or record.state ~= 'ready' then return nil end
  record.state, record.attempt = 'running', record.attempt + 1
  record.token = digits(math.max(tonumber(record.token) + 1, now_us))
  record.started, record.pod, record.claim = run.now, pod, claim
  move(run, index, 'ready', record)
  event(run, 'started', index, record.attempt, pod)
  if not run.started then run.started, run.start = digits(now), true end
  local ref = claim .. ' ' .. id .. ' ' .. index .. ' ' .. flags .. ' ' .. priority .. ' ' .. lane
  return ref, ref .. ' ' .. record.attempt .. ' ' .. record.lost .. ' ' .. record.token .. ' ' .. digits(run.created + record.ready)
end

local function collect(lanes, pod, op, want)
  local refs, claims, looked = {}, {}, 0
  for _, lane in ipairs(lanes) do advance(lane, want) end
  while #claims < want and looked < LOOK do
    local lane, bound = best_of(lanes)
    if not lane then break end
    while lane.head and lane.head <= bound and #claims < want and looked < LOOK do
      looked = looked + 1
      local entry = lane.rows[lane.at]
      lane.taken[#lane.taken + 1] = entry
      local ref, claim = take(entry, lane.name, 100 - math.floor(lane.head / 4398046511104), pod, op .. string.format('%02x', #claims))
      if ref then refs[#refs + 1] = ref; claims[#claims + 1] = claim end
      advance(lane, want)
    end
  end
  return refs, claims
end

local function write_lanes(lanes)
  local left = {}
  for _, lane in ipairs(lanes) do
    if #lane.taken > 0 then redis.call('ZREM', lane.key, unpack(lane.taken)) end
    if lane.head then
      left[#left + 1] = lane.name
      redis.call('ZADD', T .. 'lanes', digits(lane.head), lane.name)
    else
      redis.call('ZREM', T .. 'lanes', lane.name)
    end
  end
  return left
end

local function write_leases(refs, pod, ttl)
  if #refs == 0 then return end
  local scored, now_text = {}, digits(now)
  for _, ref in ipairs(refs) do
    redis.call('SET', T .. 'lease:' .. string.sub(ref, 1, 32), pod, 'NX', 'PX', ttl)
    scored[#scored + 1] = now_text
    scored[#scored + 1] = ref
  end
  redis.call('ZADD', T .. 'claims:' .. pod, unpack(scored))
end

-- Claims up to `want` tasks; nil where the pod's capabilities are not known (any more). A pod that got fewer is idle.
local function claim_ready(pod, digest, op, want, ttl)
  local capabilities = redis.call('GET', T .. 'capabilities:' .. digest)
  if not capabilities then return nil, {} end
  local lanes, left = open_lanes(capabilities)
  local refs, claims = collect(lanes, pod, op, want)
  write_book()
  for _, lane in ipairs(write_lanes(lanes)) do left[#left + 1] = lane end
  write_leases(refs, pod, ttl)
  return claims, left
end
