-- Extends many claims: of each, ARGV has the number of its keys, its value and the ms that it is to have at least. The answer
-- has for each 1: done. 0: at least one key is not its own, and none of them was changed.
local answers = {}
local from = 1
for n = 1, #ARGV, 3 do
  local upto, value, ms = from + tonumber(ARGV[n]) - 1, ARGV[n + 1], tonumber(ARGV[n + 2])
  local mine = 1
  for k = from, upto do
    local found = redis.pcall('GET', KEYS[k])
    if type(found) == 'table' and not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
    if found ~= value then mine = 0 end
  end
  if mine == 1 then
    for k = from, upto do
      if redis.call('PTTL', KEYS[k]) < ms then redis.call('PEXPIRE', KEYS[k], ms) end
    end
  end
  answers[#answers + 1] = mine
  from = upto + 1
end
return answers
