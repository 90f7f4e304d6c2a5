-- Deletes the keys that hold the value ARGV[1]. 1: all did. 0: at least one did not, and was left alone.
local mine = 0
for _, key in ipairs(KEYS) do
  local value = redis.pcall('GET', key)
  -- Another type is not ours. Any other error, as a missing permission, says nothing about whose it is.
  if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
  if value == ARGV[1] then
    redis.call('DEL', key)
    mine = mine + 1
  end
end
return mine == #KEYS and 1 or 0
