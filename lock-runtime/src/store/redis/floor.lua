-- Replaces the value ARGV[1] of the keys that hold it by ARGV[2], for ARGV[3] ms, and not for longer than they had. 1: all
-- held it. 0: at least one did not, and was left alone.
local mine = 0
for _, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
  if value == ARGV[1] then
    -- Servers that do not know our flags refuse to write when they are out of memory: the old value has to do then.
    local left, most = redis.call('PTTL', key), tonumber(ARGV[3])
    -- Below zero: somebody made it permanent.
    if left < 0 or left > most then left = most end
    left = math.max(left, 1)
    local done = redis.pcall('SET', key, ARGV[2], 'PX', left)
    if done.err then redis.call('PEXPIRE', key, left) end
    mine = mine + 1
  end
end
return mine == #KEYS and 1 or 0
