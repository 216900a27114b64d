-- Takes in what an owner says of its clients in a room. Follows slot.lua and room.lua.
-- ARGV: … the call's turn ('0': of no order), the generation into which its edges belong ('': into any, also a new one), then
-- edges: '+', client, user, row without its arrival; 'd', client, its grace in milliseconds; '-', client, when it went ('': not
-- kept).
-- Returns the generation, the place in it, clients, members, and the change ('': none). If the generation is another one
-- nothing has changed, and no more than that is told: the owner may not be entered in the lists of owners any more, and its
-- rows would not be found when it dies.

local refused = refusal(gateway, incarnation)
if refused then
  return refused
end
-- A call that its caller has long given up may still be on its way here, behind those that came after it.
local turn, last = tonumber(ARGV[8]), tonumber(call('HGET', TURNS, owner) or '0')
if turn > 0 and turn <= last then
  return redis.error_reply('OVERTAKEN ' .. whole(last))
end
if turn > 0 then
  call('HSET', TURNS, owner, ARGV[8])
end
if ARGV[9] ~= '' and ARGV[9] ~= generation then
  return {generation or NO_GENERATION, '0', 0, 0, ''}
end
if not generation then
  begin()
end
if not seq then
  wipe()
  seq, arrivals = floor, 0
end

local clients, names, put_names, at = {}, {}, {}, 10
while at <= #ARGV do
  local kind, client = ARGV[at], ARGV[at + 1]
  clients[#clients + 1] = client
  if kind == '+' then
    local name = member_key(client, ARGV[at + 2])
    put_names[#clients], names[#names + 1] = name, name
  end
  at = at + (kind == '+' and 4 or 3)
end
load(clients, names)

-- Whether the row is there and the caller's, or of an earlier incarnation of its gateway, which has no other heir.
local function is_ours(client)
  local head = rows[client] and read(rows[client])
  if not head or head == own_head then
    return head
  end
  local of, which = string.match(owner_of(head), '^(.*)%.(%d+)$')
  return of == gateway and (#which < #incarnation or (#which == #incarnation and which < incarnation))
end

at = 10
for index, client in ipairs(clients) do
  local kind = ARGV[at]
  if kind == '+' then
    put(client, put_names[index], ARGV[at + 3])
    at = at + 4
  elseif kind == '-' then
    if is_ours(client) then
      gone(client, ARGV[at + 2])
    end
    at = at + 3
  else
    if is_ours(client) then
      drop(client, tonumber(ARGV[at + 2]))
    end
    at = at + 3
  end
end
return finish()
