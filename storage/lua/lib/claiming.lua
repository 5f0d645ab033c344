-- claiming: hands ready tasks to a pod, and wakes pods for those that are left.
-- A lane is "queue/function". A pod's capabilities are one string " q:default f:task_a f:task_b ", stored once for all
-- pods that have the same, under its digest: a pod looks only at lanes that it can serve.
-- No call looks at more tasks, into more lanes, or at more names of lanes.
local LOOK, OPEN, LANES = 1000, 100, 1024

local function serves(capabilities, lane)
  local queue, fn = string.match(lane, '^([^/]*)/(.*)$')
  return string.find(capabilities, ' q:' .. queue .. ' ', 1, true) and string.find(capabilities, ' f:' .. fn .. ' ', 1, true)
end

-- `serves` as a test of one name. Few lanes are looked for in the text, many in tables made of it.
local function tester(capabilities, count)
  if count <= 32 then return function(lane) return serves(capabilities, lane) end end
  local known = {q = {}, f = {}}
  for kind, name in string.gmatch(capabilities, '([qf]):(%S+)') do known[kind][name] = true end
  return function(lane)
    local queue, fn = string.match(lane, '^([^/]*)/(.*)$')
    return known.q[queue] and known.f[fn]
  end
end

local function lane_of(name, head)
  return {name = name, key = T .. 'lane:' .. name, head = tonumber(head), from = 0, at = 1, rows = {}, taken = {}}
end

-- This pod's lanes among very many: asked for by name, so that lanes which nobody serves cannot hide them.
local function named_lanes(capabilities)
  local names, mine = {}, {}
  for queue in string.gmatch(capabilities, ' q:(%S+)') do
    for fn in string.gmatch(capabilities, ' f:(%S+)') do names[#names + 1] = queue .. '/' .. fn end
  end
  for from = 1, #names, 1000 do
    local heads = redis.call('ZMSCORE', T .. 'lanes', unpack(names, from, math.min(#names, from + 999)))
    for i, head in ipairs(heads) do
      if head then mine[#mine + 1] = lane_of(names[from + i - 1], head) end
    end
  end
  table.sort(mine, function(a, b) return a.head < b.head end)
  return mine
end

-- The lanes that this pod serves, in the order of what `lanes` says of their first task (never later than it is), and names of
-- others that hold tasks; `made` are lanes that this call has filled.
local function open_lanes(capabilities, made)
  local rows, mine, others = redis.call('ZRANGE', T .. 'lanes', 0, LANES - 1, 'WITHSCORES'), {}, {}
  local can = tester(capabilities, #made + #rows / 2)
  for _, name in ipairs(made) do
    if not can(name) then others[#others + 1] = name end
  end
  for i = 1, #rows, 2 do
    if can(rows[i]) then mine[#mine + 1] = lane_of(rows[i], rows[i + 1]) else others[#others + 1] = rows[i] end
  end
  if #rows == 2 * LANES then mine = named_lanes(capabilities) end
  return mine, others
end

-- The lane whose first task is due first, and the head of the next one: up to there the first may be read alone. Lanes after
-- the first `opened` have not been read; no task in them is due before the first of them says.
local function best_of(lanes, opened)
  local best, bound = nil, math.huge
  for i = 1, math.min(opened + 2, #lanes) do
    local lane = lanes[i]
    if lane.head and (not best or lane.head < best.head) then
      if best then bound = best.head end
      best = lane
    elseif lane.head and lane.head < bound then
      bound = lane.head
    end
  end
  return best, bound
end

local function advance(lane, want)
  lane.at = lane.at + 2
  if lane.at > #lane.rows and not lane.whole then
    local count = lane.from == 0 and want or LOOK / 4
    lane.rows = redis.call('ZRANGE', lane.key, lane.from, lane.from + count - 1, 'WITHSCORES')
    lane.whole = #lane.rows < 2 * count
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
  local refs, claims, looked, opened = {}, {}, 0, 0
  -- bound: each round opens a lane, OPEN at most, or looks at a task
  while #claims < want and looked < LOOK do
    local lane, bound = best_of(lanes, opened)
    if not lane or (lane == lanes[opened + 1] and opened == OPEN) then break end
    if lane == lanes[opened + 1] then
      opened = opened + 1
      advance(lane, want)
    end
    -- bound: LOOK tasks
    while lane.head and lane.head <= bound and #claims < want and looked < LOOK do
      looked = looked + 1
      local entry = lane.rows[lane.at]
      lane.taken[#lane.taken + 1] = entry
      local ref, claim = take(entry, lane.name, 100 - math.floor(lane.head / 4398046511104), pod, op .. string.format('%02x', #claims))
      if ref then refs[#refs + 1] = ref; claims[#claims + 1] = claim end
      advance(lane, want)
    end
  end
  return refs, claims, opened
end

-- Writes what was taken from the lanes that were opened. Answers those of all that still hold tasks.
local function write_lanes(lanes, opened)
  local left = {}
  for i, lane in ipairs(lanes) do
    if #lane.taken > 0 then redis.call('ZREM', lane.key, unpack(lane.taken)) end
    if lane.head then left[#left + 1] = lane.name end
    if i <= opened and lane.head then redis.call('ZADD', T .. 'lanes', digits(lane.head), lane.name)
    elseif i <= opened then redis.call('ZREM', T .. 'lanes', lane.name) end
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

-- What the pod can do; false where the pod, or what it can do, is not known (any more): nobody would reap what it claims.
local function capabilities_of(pod, digest)
  return redis.call('ZSCORE', T .. 'pods', pod) and redis.call('GET', T .. 'capabilities:' .. digest)
end

-- Claims up to `want` tasks, and writes the book. Answers the lanes too that still hold tasks, this pod's first.
local function claim_ready(pod, capabilities, op, want, ttl, made)
  local lanes, others = open_lanes(capabilities, made)
  local refs, claims, opened = collect(lanes, pod, op, want)
  write_book()
  local left = write_lanes(lanes, opened)
  for _, lane in ipairs(others) do left[#left + 1] = lane end
  write_leases(refs, pod, ttl)
  return claims, left
end
