-- Replaces what stands of a list of contacts in a partition of the users. Follows slot.lua.
-- ARGV: … whose list, then users of the partition. Returns those who stood there before.
local me, list = ARGV[3], key('pk', ARGV[3])
local before, stays = call('SMEMBERS', list), {}
-- New ones first: a node that is out of memory refuses them before anything has changed.
for index = 4, #ARGV do
  local user = ARGV[index]
  stays[user] = true
  call('SADD', list, 'u' .. user)
  call('SADD', key('pb', user), me)
end
for index, member in ipairs(before) do
  local user = string.sub(member, 2)
  before[index] = user
  if not stays[user] then
    call('SREM', list, member)
    call('SREM', key('pb', user), me)
  end
end
return before
