-- Deletes the keys that hold the value ARGV[1]. 1: all did. 0: at least one did not, and was left alone.
local mine = 0
for _, key in ipairs(KEYS) do
  if redis.pcall('GET', key) == ARGV[1] then
    redis.call('DEL', key)
    mine = mine + 1
  end
end
return mine == #KEYS and 1 or 0
