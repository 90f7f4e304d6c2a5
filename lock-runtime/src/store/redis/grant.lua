-- Grants `key`, which is free or the caller's, to the first in `line` who is there, for as long as its entry says: it has to
-- confirm until then. Whoever is gone leaves the line. `own`: the caller's entry, which need not be called.
-- 'own', or 'given', ms, value. 'none': nobody is there. 'unable': the user lacks a permission, and the line is as it was.
local function grant(key, line, own)
  -- As many as a line takes, and some.
  for _ = 1, 1024 do
    local entry = redis.pcall('LINDEX', line, 0)
    if entry == false then return 'none' end
    if type(entry) == 'table' then
      -- Somebody else's key of that name is nobody's line.
      return string.find(entry.err, 'WRONGTYPE', 1, true) and 'none' or 'unable'
    end
    local ms, channel, value = string.match(entry, '^([1-9]%d?%d?%d?%d?) (%S+) (.+)$')
    local there = ms ~= nil
    if there and entry ~= own then
      -- Whoever listens to everything is in the answer to a call, and not in this one.
      local listeners = redis.pcall('PUBSUB', 'NUMSUB', channel)
      if listeners.err then return 'unable' end
      there = listeners[2] > 0
      if there then
        -- Before anything is changed: nothing is rolled back.
        local heard = redis.pcall('PUBLISH', channel, string.match(value, '^%S+') .. ' ' .. key)
        if type(heard) == 'table' then return 'unable' end
        there = heard > 0
      end
    end
    local left = redis.pcall('LPOP', line)
    if type(left) == 'table' then return 'unable' end
    if there then
      -- Should the server refuse to write more, it is free, and not theirs.
      local done = redis.pcall('SET', key, value, 'PX', ms)
      if done.err then return 'none' end
      return entry == own and 'own' or 'given', tonumber(ms), value
    end
  end
  return 'none'
end
