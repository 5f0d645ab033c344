-- access: who did what to runs, kept in the order in which it happened.
-- Written by the call that does the deed, and only for callers that have a name: a pod without keys writes none of it.
local function note_access(caller, tenant, action, id, outcome, kept)
  redis.call('XADD', T .. 'access', 'MAXLEN', '~', kept, '*', 'at', digits(now), 'caller', caller, 'tenant', tenant,
             'action', action, 'run', id, 'outcome', outcome)
end
