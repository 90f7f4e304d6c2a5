-- What is under the key KEYS[1], and how many stand in its line KEYS[2], where that is named. Nothing is changed.
-- {0}: nothing. {0, pttl, n, value}: this, with n in line, or -1 where that cannot be told. {0, pttl, n}: another type.
local key, line = KEYS[1], KEYS[2]
local left = redis.call('PTTL', key)
if left == -2 then return {0} end
local value = redis.pcall('GET', key)
if type(value) == 'table' and not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
-- The user may lack the permission, or the line's name be somebody else's key: who holds the lock is known all the same.
local waiting = line and redis.pcall('LLEN', line)
local answer = {0, left, type(waiting) == 'number' and waiting or -1}
if type(value) == 'string' then answer[4] = value end
return answer
