-- Gives back the keys that hold the value ARGV[1]: each, which is followed by its line, to the first in that, or deletes it. What
-- follows in ARGV are entries of whoever gives them back, which leave the lines whatever the keys hold.
-- 0: at least one key was not ours, and was left alone. 1: all were. 3: all were, but the user may call nobody in line.
local mine, able = 0, true
for k = 1, #KEYS, 2 do
  local key, line = KEYS[k], KEYS[k + 1]
  -- Whatever is wrong with the line: the key is to be free.
  for n = 2, #ARGV do redis.pcall('LREM', line, 0, ARGV[n]) end
  local value = redis.pcall('GET', key)
  if value == ARGV[1] then
    -- Mostly nobody waits.
    if redis.pcall('LINDEX', line, 0) then
      local outcome = grant(key, line, '')
      if outcome ~= 'given' then redis.call('DEL', key) end
      if outcome == 'unable' then able = false end
    else
      redis.call('DEL', key)
    end
    mine = mine + 1
  -- Another type is not ours. Any other error, as a missing permission, says nothing about whose it is.
  elseif type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then
    return value
  end
end
if mine < #KEYS / 2 then return 0 end
return able and 1 or 3
