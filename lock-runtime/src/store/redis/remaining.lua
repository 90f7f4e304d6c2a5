-- The least time in ms that is left of the keys, if all hold the value ARGV[1]; -2, or the error WRONGTYPE, if one does not. A
-- key that somebody made permanent counts as having no time: nobody will free it.
local least = nil
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) ~= ARGV[1] then return -2 end
  local left = math.max(redis.call('PTTL', key), 0)
  if least == nil or left < least then least = left end
end
return least
