-- Follows slot.lua. ARGV: … the room, a generation, a place in it.
-- Returns the changes after it, or nil if they are not all there.
local room, after = ARGV[3], tonumber(ARGV[5])
if ARGV[4] ~= (generation or NO_GENERATION) then
  return false
end
local seq = standing(room)
if after == (seq or floor) then
  return {}
end
if not seq or after > seq then
  return false
end
local changes = {}
for index, entry in ipairs(call('XRANGE', key('pl', room), whole(after + 1), '+')) do
  changes[index] = entry[2][2]
end
-- Each place has one change, so that so many are all of them.
return after + #changes == seq and changes or false
