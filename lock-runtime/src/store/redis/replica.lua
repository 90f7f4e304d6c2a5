-- On servers that know no flags: a replica on which there is no key would say "not yours", which is unknown to it. It refuses
-- every command that writes, also one that makes no sense and does nothing on any other server.
local answered = answer()
local ours = answered
if type(answered) == 'table' then
  ours = 1
  for _, one in ipairs(answered) do ours = math.min(ours, tonumber(one) or 1) end
end
if ours > 0 then return answered end
local refused = redis.pcall('PEXPIRE', KEYS[1], '')
if string.find(refused.err, 'READONLY', 1, true) then return refused end
return answered
