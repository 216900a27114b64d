-- Removes what a partition keeps about one of its users: the last-seen time, and its place in the lists of others. Follows
-- slot.lua and room.lua.
-- ARGV: … the user, from how many lists at most.
-- Returns the last-seen time ('': none), whose lists they were, and how many are left.

local user, most = ARGV[8], ARGV[9]
local name = member_key('', user)
if seq then
  -- One who is held leaves now; otherwise the end of the grace would leave a last-seen time again.
  load({}, {name})
  local client = held_client(members[name])
  if client and rows[client] then
    take_away(client)
    finish()
  end
end

local seen_ms = call('ZSCORE', SEEN, user)
call('ZREM', SEEN, user)
local watchers = call('SPOP', key('pb', user), most)
for _, me in ipairs(watchers) do
  call('SREM', key('pk', me), name)
end
return {seen_ms or '', watchers, call('SCARD', key('pb', user))}
