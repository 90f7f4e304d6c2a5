-- Raises the counter of fencing tokens under `key`, and answers its new number: above its last one, and not below the clock.
-- Nil: it holds something else. Nil and an error: the server has refused to read it.
local function raise(key)
  local last = redis.pcall('GET', key)
  if type(last) == 'table' and not string.find(last.err, 'WRONGTYPE', 1, true) then return nil, last end
  -- There is none yet: the clock alone counts.
  if last == false then last = '0' end
  if type(last) ~= 'string' or not string.find(last, '^%d+$') then return nil end
  local now = redis.call('TIME')
  local token = math.max(tonumber(last) + 1, tonumber(now[1]) * 1000000 + tonumber(now[2]))
  -- Lua's numbers have gaps from here on.
  if token >= 2 ^ 53 then return nil end
  redis.call('SET', key, string.format('%.0f', token))
  return token
end
