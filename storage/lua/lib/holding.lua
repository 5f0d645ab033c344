-- holding: whether a claim is still its task's current one: the fence. A ref is "claim run index flags priority lane", as claim and
-- commit answered it.
local function split(ref) return string.match(ref, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$') end

-- The record that a ref still holds, or nil where another claim, or none, is the task's current one.
local function held(ref)
  local claim, id, index = split(ref)
  local run = open_run(id)
  local record = run.state and record_of(run, index)
  if record and record.state == 'running' and record.claim == claim then return run, record end
  return run, nil
end
