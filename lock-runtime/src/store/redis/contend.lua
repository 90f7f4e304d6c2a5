-- Takes every key for ARGV[2] ms under the value ARGV[1] if all are free; else says who is in the way. Where ARGV[3] is
-- a number, the last key is none of them: it is the counter that so many fencing tokens for the claim come from. What follows are
-- values of earlier claims that this one replaces: their keys count as free.
-- {1}, or {1, token, how many in a row}: ours. {0, pttl, value, n}: the n-th key is held. {2, n}: it is no lock: another type, or it never expires.
-- {3}: the counter cannot be raised, since it holds something else; nothing was taken.
local fences = tonumber(ARGV[3])
local fenced = fences ~= nil
local count = fenced and #KEYS - 1 or #KEYS
local mine, replaced, time = 0, {}, {}
for n = 4, #ARGV do replaced[ARGV[n]] = true end
for n = 1, count do
  local key = KEYS[n]
  local left = redis.call('PTTL', key)
  if left ~= -2 then
    local value = redis.pcall('GET', key)
    if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
    if type(value) ~= 'string' then return {2, n} end
    if value == ARGV[1] then
      mine = mine + 1
    elseif left == -1 then
      return {2, n}
    elseif replaced[value] then
      -- It keeps the time that it had: its holder may not know yet.
      time[n] = left
    else
      return {0, left, value, n}
    end
  end
end
local ours = {1}
if fenced then
  -- Before the first key is set: nothing is rolled back when a script fails on its way.
  local token, more = raise(KEYS[#KEYS], fences)
  if not token then return more or {3} end
  ours[2], ours[3] = token, more
end
-- Our own value under every key: a repeat of a request whose reply was lost. It must not touch the expiry.
if mine == count then return ours end
for n = 1, count do
  local ms = math.max(tonumber(ARGV[2]), time[n] or 0)
  redis.call('SET', KEYS[n], ARGV[1], 'PX', string.format('%.0f', ms))
end
return ours
