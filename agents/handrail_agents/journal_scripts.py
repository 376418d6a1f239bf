"""The Lua scripts of the Redis journal: each is one atomic transition of an invocation.

KEYS: the run's key prefix, the invocation's hash, its lease. ARGV: seconds to keep, the
invocation's id, more.
Fields of the hash: agent, parent, path, state (open | running | parked | blocked | done), segments,
parked_on, outcome, `ended:{segment}`, `c:{child}` (expected), `r:{child}` (its outcome), and the entries. An
outcome begins with `=` when it is final and with `!` when a human can still change it.
"""

from __future__ import annotations

from typing import Final

_COMMON: Final = """
local prefix, key, lease = KEYS[1], KEYS[2], KEYS[3]
local kept, me = ARGV[1], ARGV[2]

local function keep(which) redis.call('EXPIRE', which, kept) end

local function held(holder) return redis.call('GET', lease) == holder end

-- 'none', 'wake', or the first outcome that blocks the parked invocation
local function look(inv)
  local at = prefix .. inv
  if redis.call('HGET', at, 'state') ~= 'parked' then return 'none' end
  local blocked = nil
  for child in string.gmatch(redis.call('HGET', at, 'parked_on') or '', '%S+') do
    local result = redis.call('HGET', at, 'r:' .. child)
    if not result then return 'none' end
    if string.sub(result, 1, 1) == '!' then blocked = blocked or result end
  end
  return blocked or 'wake'
end

-- Tell the ancestors of inv what became of it, as far as that changes anything for them
local function climb(inv, result)
  local parent = redis.call('HGET', prefix .. inv, 'parent')
  while parent and parent ~= '' do
    local at = prefix .. parent
    -- Only a child that was delegated to may report: ids can be made up
    if redis.call('HEXISTS', at, 'c:' .. inv) == 0 then return {'none'} end
    local before = redis.call('HGET', at, 'r:' .. inv)
    if not before or string.sub(before, 1, 1) == '!' then redis.call('HSET', at, 'r:' .. inv, result) end
    keep(at)
    local found = look(parent)
    if found == 'none' then return {'none'} end
    if found == 'wake' then return {'wake', parent, redis.call('HGET', at, 'agent')} end
    redis.call('HSET', at, 'outcome', found)
    inv, result = parent, found
    parent = redis.call('HGET', prefix .. inv, 'parent')
  end
  return {'none'}
end

local function describe(at, agent, parent, path)
  if redis.call('HSETNX', at, 'agent', agent) == 1 then
    redis.call('HSET', at, 'parent', parent, 'path', path, 'state', 'open')
  end
  keep(at)
end
"""

_BODIES: Final = {
    "open": """
describe(key, ARGV[3], ARGV[4], ARGV[5])
return {'ok'}
""",
    "begin": """
local agent, holder, ttl = ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', key, 'agent') ~= agent then return {'unknown'} end
local state = redis.call('HGET', key, 'state')
if state == 'done' then return {'finished'} end
if state == 'blocked' then return {'waits'} end
if state == 'parked' and look(me) ~= 'wake' then return {'waits'} end
local other = redis.call('GET', lease)
if other then return {'busy', other} end
redis.call('SET', lease, holder, 'PX', ttl)
redis.call('HSET', key, 'state', 'running')
redis.call('HDEL', key, 'outcome')
redis.call('HINCRBY', key, 'segments', 1)
keep(key)
local answer = redis.call('HGETALL', key)
table.insert(answer, 1, 'go')
return answer
""",
    "renew": """
if not held(ARGV[3]) then return 0 end
redis.call('PEXPIRE', lease, ARGV[4])
return 1
""",
    "release": """
if not held(ARGV[3]) then return {'lost'} end
redis.call('DEL', lease)
if ARGV[4] == 'alive' then redis.call('HSET', key, 'ended:' .. redis.call('HGET', key, 'segments'), '1') end
return {'ok'}
""",
    "record": """
if not held(ARGV[3]) then return {'lost'} end
if redis.call('HSETNX', key, ARGV[4], ARGV[5]) == 1 then keep(key) return {'new'} end
return {'there', redis.call('HGET', key, ARGV[4])}
""",
    "note": """
redis.call('HSETNX', key, ARGV[3], ARGV[4])
keep(key)
return {'ok'}
""",
    "delegate": """
if not held(ARGV[3]) then return {'lost'} end
local new = redis.call('HSETNX', key, ARGV[4], ARGV[5])
if new == 0 then return {'there', redis.call('HGET', key, ARGV[4])} end
for at = 6, #ARGV, 4 do
  redis.call('HSET', key, 'c:' .. ARGV[at], '1')
  describe(prefix .. ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
keep(key)
return {'new'}
""",
    "park": """
if not held(ARGV[3]) then return {'lost'} end
redis.call('HSET', key, 'state', 'parked', 'parked_on', ARGV[4])
local found = look(me)
if found == 'wake' then
  redis.call('HSET', key, 'state', 'running')
  local answer = {'ready'}
  for child in string.gmatch(ARGV[4], '%S+') do
    table.insert(answer, string.sub(redis.call('HGET', key, 'r:' .. child), 2))
  end
  return answer
end
redis.call('DEL', lease)
redis.call('HSET', key, 'ended:' .. redis.call('HGET', key, 'segments'), '1')
keep(key)
if found ~= 'none' then
  redis.call('HSET', key, 'outcome', found)
  climb(me, found)
end
return {'parked'}
""",
    "settle": """
local holder, outcome = ARGV[3], ARGV[4]
if holder == '' then
  if redis.call('EXISTS', lease) == 1 or redis.call('HGET', key, 'state') ~= 'open' then return {'none'} end
elseif not held(holder) then
  return {'lost'}
end
local final = string.sub(outcome, 1, 1) == '='
redis.call('HSET', key, 'outcome', outcome, 'state', final and 'done' or 'blocked')
redis.call('HSET', key, 'ended:' .. (redis.call('HGET', key, 'segments') or '0'), '1')
redis.call('DEL', lease)
keep(key)
return climb(me, outcome)
""",
    "again": """
local outcome = redis.call('HGET', key, 'outcome')
if not outcome then return {'none'} end
return climb(me, outcome)
""",
}

SCRIPTS: Final = {name: _COMMON + body for name, body in _BODIES.items()}
