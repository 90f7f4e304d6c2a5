-- Puts the entry ARGV[2] at the end of the line KEYS[2] before the key KEYS[1], unless it stands there already, and grants the
-- key, if it is free, to the first in line. A line takes ARGV[4] entries, and is kept for ARGV[3] ms from here on. What follows
-- are other entries of the same waiter, which leave.
-- {1}: the key holds the value ARGV[1]: it was granted. {2, pttl, value}: it is held, and we are in line. {3}: it is no lock.
-- {4, pttl, value}: there is no place, and the key is held, or free if the value is empty. {5}: granted past the line, in which
-- the user may call nobody.
local key, line, own = KEYS[1], KEYS[2], ARGV[2]
local value = redis.pcall('GET', key)
if type(value) == 'table' then
  if string.find(value.err, 'WRONGTYPE', 1, true) then return {3} end
  return value
end
-- A repeat, which may come late: the lock may be confirmed already, and its expiry is not to be touched.
if value == ARGV[1] then return {1} end
local left = value and redis.call('PTTL', key) or 0
if left == -1 then return {3} end
local place = redis.pcall('LPOS', line, own)
if type(place) == 'table' then
  if string.find(place.err, 'WRONGTYPE', 1, true) then return {4, left, value or ''} end
  return place
end
for n = 5, #ARGV do redis.call('LREM', line, 0, ARGV[n]) end
if not place then
  if value and redis.call('LLEN', line) >= tonumber(ARGV[4]) then return {4, left, value} end
  redis.call('RPUSH', line, own)
end
redis.call('PEXPIRE', line, ARGV[3])
if value then return {2, left, value} end
local outcome, ms, other = grant(key, line, own)
if outcome == 'own' then return {1} end
if outcome == 'given' then return {2, ms, other} end
redis.call('LREM', line, 0, own)
redis.call('SET', key, ARGV[1], 'PX', string.match(own, '^%d+'))
return {5}
