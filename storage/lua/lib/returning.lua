-- returning: gives a claimed task back.

-- Acknowledges that an attempt of an ended run has stopped: its record says cancelled from now on, as readers saw it already.
local function acknowledge(run, index, record)
  record.state, record.ended, record.claim = 'cancelled', run.now, '-'
  move(run, index, 'running', record)
end

-- Puts the task back into the ready queue uncharged: the attempt number is given out again, the fencing token is not.
local function give_back(run, record, ref, why)
  local _, _, index, flags, priority, lane = split(ref)
  event(run, why, index, record.attempt, record.pod)
  drop_lease(ref, record.pod)
  if run.state ~= 'running' then return acknowledge(run, index, record) end
  record.attempt = record.attempt - 1
  make_ready(run, index, flags, priority, lane, 'running', record)
end
