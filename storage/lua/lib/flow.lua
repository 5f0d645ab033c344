-- flow: what the end of a task means for its successors.
-- Edges come from the pod, which has the compiled graph, as "index in_degree flags priority lane" joined by spaces.
-- A successor with one predecessor needs no counter. Others count finished predecessors in run:<id>:edges, as
-- finished + failed * 2^17 (a task that was skipped because something before it failed counts as failed); bits from
-- 2^34 on are kept for predecessors skipped by a condition. In-degrees stay below 2^17 by the limit on tasks.
local FAILED_EDGE = 131072

local function make_ready(run, index, flags, priority, lane, from, record)
  record = record or {attempt = 0, lost = 0, token = '0'}
  record.state, record.ready = 'ready', run.now
  record.started, record.ended, record.pod, record.claim = '-', '-', '-', '-'
  move(run, index, from, record)
  event(run, 'ready', index)
  enqueue(lane, tonumber(priority), run.id .. ' ' .. index .. ' ' .. flags)
end

-- Skips a task whose predecessor failed. Its own successors are decided by pass_on: a cascade is never one call.
local function skip(run, index, cause)
  local record = {state = 'skipped', attempt = 0, lost = 0, token = '0', ready = '-', started = '-',
                  ended = run.now, pod = '-', claim = '-'}
  move(run, index, 'pending', record, cause)
  event(run, 'skipped', index)
  set_timer(now, 'edges ' .. run.id .. ' ' .. index .. ' 0')
  run.cascades = true
end

local function load_edges(run, wanted)
  if #wanted == 0 then return end
  local counts = redis.call('HMGET', run.key .. ':edges', unpack(wanted))
  for i, index in ipairs(wanted) do run.edges[index] = {count = tonumber(counts[i] or 0)} end
end

local function decide(run, cause, succeeded, edge)
  local index, in_degree = edge[1], tonumber(edge[2])
  local first_failure = not succeeded
  local complete = in_degree == 1
  local clean = succeeded
  if not complete then
    local counter = run.edges[index]
    local failed = math.floor(counter.count / FAILED_EDGE)
    first_failure = not succeeded and failed == 0
    clean = succeeded and failed == 0
    counter.count = counter.count + 1 + (succeeded and 0 or FAILED_EDGE)
    counter.touched = true
    counter.closed = counter.count % FAILED_EDGE == in_degree
    complete = counter.closed
  end
  -- A record is there where the counter was lost after a failure that it had counted.
  if first_failure and not record_of(run, index) then skip(run, index, cause)
  elseif complete and clean then make_ready(run, index, edge[3], edge[4], edge[5], 'pending') end
end

-- Tells the successors in `edges` that task `index` has ended. Each edge is passed once: a task ends once, and pass_on
-- compares the offset.
local function pass_edges(run, index, succeeded, edges)
  local list, wanted = {}, {}
  for to, in_degree, flags, priority, lane in string.gmatch(edges, '(%S+) (%S+) (%S+) (%S+) (%S+)') do
    list[#list + 1] = {to, in_degree, flags, priority, lane}
    if in_degree ~= '1' and not run.edges[to] then wanted[#wanted + 1] = to end
  end
  load_edges(run, wanted)
  for _, edge in ipairs(list) do decide(run, 'upstream ' .. index, succeeded, edge) end
end

-- Ends a task; the caller has checked its right to. `passed` of its successors are told in this call, the rest by pass_on.
local function finish(run, index, record, state, payload, flags)
  local from = record.state
  record.state, record.ended, record.claim = state, run.now, '-'
  move(run, index, from, record, payload)
  if state == 'failed' and not string.find(flags, 'a', 1, true) then
    run.hard_failures = run.hard_failures + 1
    if run.on_failure == 'stop' then end_run(run, 'failed', 'task failed and on_failure is stop') end
  end
end
