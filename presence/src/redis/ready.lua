-- An owner has written all its rows of the slot. Follows slot.lua.
-- ARGV: … gateway, incarnation, the generation in which it has ('': it has none to write).
-- Returns the valid generation. If it is another one nothing has changed: there the owner's rows are missing.

local refused = refusal(ARGV[3], ARGV[4])
if refused then
  return refused
end
if ARGV[5] == '' and not generation then
  begin()
end
if generation and (ARGV[5] == '' or ARGV[5] == generation) then
  call('HSET', READY, ARGV[3] .. '.' .. ARGV[4], generation)
end
return generation or NO_GENERATION
