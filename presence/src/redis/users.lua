-- Follows slot.lua. ARGV: … the room, a partition of the users, then users.
-- Returns user by user how many clients are there (held ones too), and when it was seen last ('': not known).
local room, names, users = ARGV[3], {}, {}
for index = 4, #ARGV do
  users[#users + 1], names[#names + 1] = ARGV[index], 'u' .. ARGV[index]
end
local packed = standing(room) and call('HMGET', key('pm', room), unpack(names)) or {}
local found, times = {}, call('ZMSCORE', key('pz', room), unpack(users))
for index = 1, #users do
  -- Behind the flag stand the clients, each between two bytes 255.
  local _, marks = string.gsub(packed[index] or '\255', '\255', '')
  found[#found + 1], found[#found + 2] = marks - 1, times[index] or ''
end
return found
