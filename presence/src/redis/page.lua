-- Follows slot.lua. ARGV: … the room, the cursor, about how many rows.
-- Returns the valid generation, the place in it, the next cursor ('0': that was all), and client by client the rows.
local room = ARGV[3]
local seq = standing(room)
if not seq then
  return {generation or NO_GENERATION, generation and whole(floor) or '0', '0', {}}
end
local page = call('HSCAN', key('pi', room), ARGV[4], 'COUNT', ARGV[5])
return {generation, whole(seq), page[1], page[2]}
