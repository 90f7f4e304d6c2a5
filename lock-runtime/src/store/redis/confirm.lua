-- Gives the key KEYS[1] ARGV[2] ms at least, if it holds the value ARGV[1]; with a second key, ARGV[3] fencing
-- tokens from that counter.
-- {0}: it is not ours. {1}, or {1, token, how many in a row}: ours. {3}: the counter cannot be raised, since it holds something else.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
local ours = {1}
if KEYS[2] then
  -- Before the lock is made one: nothing is rolled back when a script fails on its way.
  local token, more = raise(KEYS[2], tonumber(ARGV[3]))
  if not token then return more or {3} end
  ours[2], ours[3] = token, more
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return ours
