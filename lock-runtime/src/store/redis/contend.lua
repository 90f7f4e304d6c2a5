-- Takes every key for ARGV[2] ms under the value ARGV[1] if all are free; else says who is in the way.
-- {1}: ours. {0, pttl, value}: held. {2, n}: the n-th key is no lock: another type, or it never expires.
local mine = 0
for n, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  if left ~= -2 then
    local value = redis.pcall('GET', key)
    if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
    if type(value) ~= 'string' then return {2, n} end
    if value == ARGV[1] then
      mine = mine + 1
    elseif left == -1 then
      return {2, n}
    else
      return {0, left, value}
    end
  end
end
-- Our own value under every key: a repeat of a request whose reply was lost. It must not touch the expiry.
if mine == #KEYS then return {1} end
for _, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
end
return {1}
