-- Takes rows of a dead owner out of a room, after a fence against it. Follows slot.lua and room.lua.
-- ARGV: … the least incarnation that may write, when its clients were seen last, the most rows.
-- Returns the generation, the place in it, clients, members, the change ('': none), the rows, and how many are left.

retire(gateway, ARGV[8], owner)

local own = key('pw', owner .. ' ' .. room)
if not seq then
  -- Of another generation, or none: nobody reads it any more.
  wipe()
  call('UNLINK', own)
  call('SREM', key('powned', owner), room)
  return {generation or NO_GENERATION, generation and whole(floor) or '0', 0, 0, '', 0, 0}
end

-- Random ones would take as long as all the rest of this.
local clients, cursor, most = {}, '0', tonumber(ARGV[10])
repeat
  local page = call('SSCAN', own, cursor, 'COUNT', most)
  cursor = page[1]
  for _, client in ipairs(page[2]) do
    if #clients < most then
      clients[#clients + 1] = client
    end
  end
until #clients > 0 or cursor == '0'
load(clients, {})
local strays = {}
for _, client in ipairs(clients) do
  if is_own(client) then
    gone(client, ARGV[9])
  else
    strays[#strays + 1] = client
  end
end
local reply = finish()
in_pieces('SREM', own, strays)
local left = call('SCARD', own)
if left == 0 then
  call('HDEL', OWNERS, owner)
  call('SREM', key('powned', owner), room)
end
reply[6], reply[7] = #clients, left
return reply
