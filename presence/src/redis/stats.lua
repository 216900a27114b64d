-- Follows slot.lua. ARGV: … the room. Returns the valid generation, the place in it, clients and members.
local room = ARGV[3]
if not generation then
  return {NO_GENERATION, '0', 0, 0}
end
local seq = standing(room)
if not seq then
  return {generation, whole(floor), 0, 0}
end
return {generation, whole(seq), call('SCARD', key('pc', room)), call('SCARD', key('pu', room))}
