-- Takes `count` fencing tokens in a row from the counter under `key`, and answers the first of them and how many there are: above
-- its last one, and not below the clock. Where the counter is ahead of the clock, one alone: should it get lost, the clock has to do.
-- Nil: it holds something else. Nil and an error: the server has refused to read it.
local function raise(key, count)
  local last = redis.pcall('GET', key)
  if type(last) == 'table' and not string.find(last.err, 'WRONGTYPE', 1, true) then return nil, last end
  -- There is none yet: the clock alone counts.
  if last == false then last = '0' end
  if type(last) ~= 'string' or not string.find(last, '^%d+$') then return nil end
  local now = redis.call('TIME')
  local clock = tonumber(now[1]) * 1000000 + tonumber(now[2])
  local first = math.max(tonumber(last) + 1, clock)
  if first > clock + 1000 then count = 1 end
  -- Lua's numbers have gaps from here on.
  local top = first + (count - 1)
  if top >= 2 ^ 53 then return nil end
  redis.call('SET', key, string.format('%.0f', top))
  return first, count
end
