-- Gives every key ARGV[2] ms, if all hold the value ARGV[1]: exactly that when ARGV[3] is 'exactly', else at least that.
-- 1: done. 0, or the error WRONGTYPE: at least one key is not ours, and nothing was changed.
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) ~= ARGV[1] then return 0 end
end
for _, key in ipairs(KEYS) do
  if ARGV[3] == 'exactly' or redis.call('PTTL', key) < tonumber(ARGV[2]) then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return 1
