-- Raises the counter of fencing tokens, the last key, to ARGV[2] at least, if all other keys hold the value ARGV[1].
-- 1: it is not below. 0, or the error WRONGTYPE: at least one key is not ours, and nothing was changed. 3: the counter cannot be
-- raised, since it holds something else.
for n = 1, #KEYS - 1 do
  if redis.call('GET', KEYS[n]) ~= ARGV[1] then return 0 end
end
local last = redis.pcall('GET', KEYS[#KEYS])
if type(last) == 'table' and not string.find(last.err, 'WRONGTYPE', 1, true) then return last end
if last ~= false and (type(last) ~= 'string' or not string.find(last, '^%d+$')) then return 3 end
if last == false or tonumber(last) < tonumber(ARGV[2]) then redis.call('SET', KEYS[#KEYS], ARGV[2]) end
return 1
