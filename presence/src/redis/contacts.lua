-- Follows slot.lua. ARGV: … the room, a partition of the users, whose list of contacts, and '1' for those online only.
-- Returns what stands of the list in the partition, as keys of members.
local room, list = ARGV[3], key('pk', ARGV[4])
if ARGV[5] ~= '1' then
  return call('SMEMBERS', list)
end
return standing(room) and call('SINTER', list, key('pu', room)) or {}
