#!lua
-- create_run: a run exists from this call on, with its first tasks ready.
-- USES prelude book flow claiming waking access
-- KEYS[1] prefix; built from it: run:<id> hash, run:<id>:graph list (packed definition), run:<id>:events list,
--   run:<id>:tasks hash, runs zset (id -> created ms), runs:<tenant> zset, audits zset, idempotency:<digest> string "run body_digest",
--   lane:<queue>/<function> zset, lanes zset, timers zset, waiting zset, waiting:<digest> zset, capabilities:<digest>, inbox:<pod> list,
--   pods zset (read), access stream
-- ARGV[1] run id          ARGV[2] body digest       ARGV[3] idempotency digest or ''   ARGV[4] number of tasks
-- ARGV[5] retention ms    ARGV[6] on_failure        ARGV[7] priority                   ARGV[8] name or ''
-- ARGV[9] labels or ''    ARGV[10] packed definition, '' when staged by stage_run      ARGV[11] root edges of this call
-- ARGV[12] roots passed, '' when these are all          ARGV[13] parts staged by stage_run, 0 without ones
-- ARGV[14] trace context that attempts go on with, or ''
-- ARGV[15] tenant, '' for the default one               ARGV[16] caller, '' where nobody was asked   ARGV[17] entries of access kept
-- RETURNS {"OK", created ms, state} | {"EXISTS", run id} | {"CONFLICT", run id} | {"UNSTAGED"}: parts are missing, stage them again
local id, key = ARGV[1], T .. 'run:' .. ARGV[1]
local known = redis.call('HMGET', key, 'created', 'state')
if known[1] then return {'OK', known[1], known[2]} end
local idempotency = ARGV[3] ~= '' and T .. 'idempotency:' .. ARGV[3] or nil
local first = idempotency and redis.call('GET', idempotency)
if first then
  local other, digest = string.match(first, '^(%S+) (%S*)$')
  if other ~= id then
    redis.call('DEL', key .. ':graph')
    if ARGV[16] ~= '' then
      note_access(ARGV[16], ARGV[15], 'submit', other, digest == ARGV[2] and 'existing' or 'conflict', ARGV[17])
    end
    return {digest == ARGV[2] and 'EXISTS' or 'CONFLICT', other}
  end
end
if ARGV[10] == '' and redis.call('LLEN', key .. ':graph') ~= tonumber(ARGV[13]) then return {'UNSTAGED'} end

local fields = {'state', 'running', 'created', digits(now), 'total', ARGV[4], 'retention', ARGV[5], 'on_failure', ARGV[6], 'priority', ARGV[7]}
if ARGV[8] ~= '' then fields[#fields + 1] = 'name'; fields[#fields + 1] = ARGV[8] end
if ARGV[9] ~= '' then fields[#fields + 1] = 'labels'; fields[#fields + 1] = ARGV[9] end
if ARGV[14] ~= '' then fields[#fields + 1] = 'trace'; fields[#fields + 1] = ARGV[14] end
if ARGV[15] ~= '' then fields[#fields + 1] = 'tenant'; fields[#fields + 1] = ARGV[15] end
if ARGV[16] ~= '' then fields[#fields + 1] = 'caller'; fields[#fields + 1] = ARGV[16] end
if idempotency then
  fields[#fields + 1] = 'idempotency'; fields[#fields + 1] = ARGV[3]
  redis.call('SET', idempotency, id .. ' ' .. ARGV[2])
end
redis.call('HSET', key, unpack(fields))
if ARGV[10] ~= '' then redis.call('RPUSH', key .. ':graph', ARGV[10]) else redis.call('PERSIST', key .. ':graph') end
redis.call('ZADD', T .. 'runs', now, id)
if ARGV[15] ~= '' then redis.call('ZADD', T .. 'runs:' .. ARGV[15], now, id) end
if ARGV[16] ~= '' then note_access(ARGV[16], ARGV[15], 'submit', id, 'created', ARGV[17]) end
redis.call('ZADD', T .. 'audits', now, id)
local run = open_run(id)
event(run, 'run_created', nil, nil, nil, by(nil, ARGV[16]))
pass_edges(run, 'root', true, ARGV[11])
if ARGV[12] ~= '' then set_timer(now, 'edges ' .. id .. ' root ' .. ARGV[12]) end
write_and_wake()
if ARGV[12] ~= '' then tell_everyone({'due'}) end
return {'OK', digits(now), 'running'}
