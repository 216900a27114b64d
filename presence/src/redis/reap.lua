-- Takes rows of a dead owner out of a room, after a fence against it. Follows slot.lua and room.lua.
-- ARGV: … the least incarnation that may write, when its clients were seen last, the most rows.
-- Returns the generation, the place in it, clients, members, the change ('': none), the rows, how many are left, and of these
-- those that stay for now: the last of members of whom another client broke off, who may come back.

retire(gateway, ARGV[8], owner)

local own = key('pw', owner .. ' ' .. room)
if not seq then
  -- Of another generation, or none: nobody reads it any more.
  wipe()
  call('UNLINK', own)
  call('SREM', key('powned', owner), room)
  return {generation or NO_GENERATION, generation and whole(floor) or '0', 0, 0, '', 0, 0, 0}
end

-- Whether the client is the last one of a member of whom another one broke off, who may come back.
local now = now_ms()
local function is_kept(client, until_ms)
  local packed = is_own(client) and members[member_of[client]]
  return packed and #packed <= #client + 3 and until_ms and tonumber(until_ms) > now
end

-- Random ones would take as long as all the rest of this.
local count, kept, strays, cursor, most = 0, 0, {}, '0', tonumber(ARGV[10])
repeat
  local page = call('SSCAN', own, cursor, 'COUNT', most)
  cursor = page[1]
  local clients, names = {unpack(page[2], 1, most)}, {}
  load(clients, {})
  for index, client in ipairs(clients) do
    names[index] = member_of[client] or ''
  end
  local times = #names > 0 and call('ZMSCORE', BROKEN, unpack(names)) or {}
  for index, client in ipairs(clients) do
    if is_kept(client, times[index]) then
      kept = kept + 1
    else
      count = count + 1
      if is_own(client) then
        gone(client, ARGV[9])
      else
        strays[#strays + 1] = client
      end
    end
  end
until count > 0 or cursor == '0'
local reply = finish()
in_pieces('SREM', own, strays)
local left = call('SCARD', own)
if left == 0 then
  call('HDEL', OWNERS, owner)
  call('SREM', key('powned', owner), room)
end
reply[6], reply[7], reply[8] = count, left, kept
return reply
