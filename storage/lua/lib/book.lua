-- book: a unit of work. Scripts read runs and records through it, change them in memory, and write_book() writes
-- everything once at the end. Lua does not roll back, so nothing is written before the last check has passed.
local COUNTED = {'ready', 'running', 'waiting', 'succeeded', 'failed', 'skipped'}
local ended_runs = {}  -- "run state" of each run that this call has ended
local runs, new_ready, new_timers, old_timers, old_leases, old_claims, old_audits = {}, {}, {}, {}, {}, {}, {}

-- The run as the book knows it; state is nil for a run that does not exist (any more).
local function open_run(id)
  local run = runs[id]
  if run then return run end
  local row = redis.call('HMGET', T .. 'run:' .. id, 'state', 'created', 'total', 'on_failure', 'hard_failures',
                         'ready', 'running', 'waiting', 'succeeded', 'failed', 'skipped', 'started')
  run = {id = id, key = T .. 'run:' .. id, state = row[1] or nil, created = tonumber(row[2] or 0), total = tonumber(row[3] or 0),
         on_failure = row[4], hard_failures = tonumber(row[5] or 0), count = {}, stored = {hard_failures = tonumber(row[5] or nil)},
         records = {}, edges = {}, events = {}, log = {}, started = row[12]}
  run.now = digits(now - run.created)
  for i, state in ipairs(COUNTED) do
    run.stored[state] = tonumber(row[5 + i] or nil)
    run.count[state] = run.stored[state] or 0
  end
  runs[id] = run
  return run
end

local function record_of(run, index)
  if run.records[index] == nil then run.records[index] = parse(redis.call('HGET', run.key .. ':tasks', index)) or false end
  return run.records[index] or nil
end

local function event(run, kind, index, attempt, pod, detail)
  local line = run.now .. ' ' .. kind
  if index then line = line .. ' ' .. index .. ' ' .. (attempt or '-') .. ' ' .. (pod or '-') end
  if detail then line = line .. ' ' .. detail end
  run.events[#run.events + 1] = line
end

-- Moves a task to the record's state: counters follow the record, so that they equal a recount at every moment.
local function move(run, index, from, record, payload)
  if from ~= 'pending' then run.count[from] = run.count[from] - 1 end
  if record.state ~= 'cancelled' then run.count[record.state] = run.count[record.state] + 1 end
  local text = record.state .. ' ' .. record.attempt .. ' ' .. record.lost .. ' ' .. record.token .. ' ' .. record.ready .. ' ' ..
               record.started .. ' ' .. record.ended .. ' ' .. record.pod .. ' ' .. record.claim
  if payload then text = text .. '\n' .. payload end
  record.text = text
  run.records[index] = record
  run.changed = run.changed or {}
  run.changed[index] = text
end

local function done(run) return run.count.succeeded + run.count.failed + run.count.skipped end

-- What an event of a run says, and behind a tab, which no reason has, who was behind it.
local function by(text, caller)
  if not caller or caller == '' then return text end
  return (text or '') .. '\t' .. caller
end

local function end_run(run, state, reason, caller)
  run.ended, run.state, run.reason, run.caller = true, state, reason, caller
end

-- Puts a task into its lane of the ready queue. Higher priority first, then first come, first served: the priority fills
-- the score's upper bits, the ms of the server's clock the lower 42.
local function enqueue(lane, priority, member)
  local score = (100 - priority) * 4398046511104 + now
  local batch = new_ready[lane]
  if not batch then
    batch = {head = score, text = {}}
    new_ready[lane] = batch
  end
  if score < batch.head then batch.head = score end
  batch.text[priority] = batch.text[priority] or digits(score)
  batch[#batch + 1] = batch.text[priority]
  batch[#batch + 1] = member
end

local function set_timer(due, member)
  new_timers[#new_timers + 1] = digits(due)
  new_timers[#new_timers + 1] = member
end

local function drop_lease(ref, pod)
  old_leases[#old_leases + 1] = T .. 'lease:' .. string.match(ref, '^%S+')
  old_claims[pod] = old_claims[pod] or {}
  table.insert(old_claims[pod], ref)
end

local function pairs_of(map)
  local list = {}
  for key, value in pairs(map) do list[#list + 1] = key; list[#list + 1] = value end
  return list
end

-- Ends the run where nothing is left to do, and reads what its end needs: the last reading before all that is written.
local function close(run)
  if run.changed and run.state == 'running' and done(run) == run.total then
    end_run(run, run.hard_failures > 0 and 'failed' or 'succeeded',
            run.hard_failures > 0 and run.hard_failures .. ' task(s) failed' or nil)
  end
  if not run.ended then return end
  event(run, 'run_' .. run.state, nil, nil, nil, by(run.reason, run.caller))
  ended_runs[#ended_runs + 1] = run.id .. ' ' .. run.state
  local row = redis.call('HMGET', run.key, 'retention', 'idempotency', 'tenant', 'logged')
  run.retention, run.idempotency, run.tenant, run.logged = tonumber(row[1]), row[2], row[3], row[4]
end

local function write_end(run)
  local retention, idempotency = run.retention, run.idempotency
  for _, suffix in ipairs({'', ':tasks', ':edges', ':events', ':attempts', ':effects', ':graph'}) do
    redis.call('PEXPIRE', run.key .. suffix, retention)
  end
  if run.logged then
    redis.call('PEXPIRE', run.key .. ':log', retention)
    redis.call('PEXPIRE', run.key .. ':logged', retention)
  end
  if idempotency then redis.call('PEXPIRE', T .. 'idempotency:' .. idempotency, retention) end
  set_timer(now + retention, run.tenant and 'unlist ' .. run.id .. ' ' .. run.tenant or 'forget ' .. run.id)
  old_audits[#old_audits + 1] = run.id
  -- Tasks that were ready stay in their lanes until a pod looks there, and perhaps none does; timers of those that wait may be due in
  -- years: they are swept out.
  if run.count.ready + run.count.waiting > 0 then set_timer(now, 'sweep ' .. run.id .. ' 0') end
end

-- The counters that are not as they are stored, as fields and values.
local function counters(run)
  local fields = {}
  for _, state in ipairs(COUNTED) do
    if run.count[state] ~= run.stored[state] then fields[#fields + 1] = state; fields[#fields + 1] = run.count[state] end
    run.stored[state] = run.count[state]
  end
  if run.hard_failures ~= run.stored.hard_failures then fields[#fields + 1] = 'hard_failures'; fields[#fields + 1] = run.hard_failures end
  run.stored.hard_failures = run.hard_failures
  return fields
end

local function write_run(run)
  if run.changed and next(run.changed) then redis.call('HSET', run.key .. ':tasks', unpack(pairs_of(run.changed))) end
  if next(run.log) then redis.call('HSET', run.key .. ':attempts', unpack(pairs_of(run.log))) end
  local kept, gone = {}, {}
  for index, edge in pairs(run.edges) do
    if edge.closed then gone[#gone + 1] = index
    elseif edge.touched then kept[#kept + 1] = index; kept[#kept + 1] = digits(edge.count) end
  end
  if #kept > 0 then redis.call('HSET', run.key .. ':edges', unpack(kept)) end
  if #gone > 0 then redis.call('HDEL', run.key .. ':edges', unpack(gone)) end
  local fields = (run.changed or run.ended) and counters(run) or {}
  if run.start then fields[#fields + 1] = 'started'; fields[#fields + 1] = run.started end
  if run.ended then
    for _, value in ipairs({'state', run.state, 'finished', digits(now), 'reason', run.reason or ''}) do fields[#fields + 1] = value end
  end
  if #fields > 0 then redis.call('HSET', run.key, unpack(fields)) end
  if #run.events > 0 then redis.call('RPUSH', run.key .. ':events', unpack(run.events)) end
  if run.ended then write_end(run) end
  run.changed, run.log, run.events, run.edges, run.ended, run.start = nil, {}, {}, {}, nil, nil
end

-- Writes the ready queue alone: where tasks are claimed from it in this call, before the rest is written.
local function write_ready()
  for lane, entries in pairs(new_ready) do
    redis.call('ZADD', T .. 'lane:' .. lane, unpack(entries))
    redis.call('ZADD', T .. 'lanes', 'LT', digits(entries.head), lane)
  end
  new_ready = {}
end

-- Writes all that the book holds; the caller has finished reading and checking. What was read stays known: nobody else
-- can change it while the script runs.
local function write_book()
  for _, run in pairs(runs) do close(run) end
  for _, run in pairs(runs) do write_run(run) end
  write_ready()
  if #old_timers > 0 then redis.call('ZREM', T .. 'timers', unpack(old_timers)) end
  if #new_timers > 0 then redis.call('ZADD', T .. 'timers', unpack(new_timers)) end
  if #old_leases > 0 then redis.call('DEL', unpack(old_leases)) end
  if #old_audits > 0 then redis.call('ZREM', T .. 'audits', unpack(old_audits)) end
  for pod, refs in pairs(old_claims) do redis.call('ZREM', T .. 'claims:' .. pod, unpack(refs)) end
  new_timers, old_timers, old_leases, old_claims, old_audits = {}, {}, {}, {}, {}
end
