-- The rows of one room: loaded, changed in memory, written in one go. Follows slot.lua and told.lua.
-- ARGV: … the room, gateway, incarnation, and the beginning of the owner's rows; in a partition of the users how many
-- last-seen times it keeps, else ''.
--
-- A row is 8 bytes of arrival and a Protobuf of which the first fields are gateway, incarnation and user. Those of an owner
-- all begin alike: its `head`. A member is `+` or, if it is held, `-`, and its clients in order of arrival, each between two
-- bytes 255, which are in no text.

local room, gateway, incarnation, own_head, seen_max = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local owner = gateway .. '.' .. incarnation
local CLIENTS, USERS, ROWS, MEMBERS = key('pc', room), key('pu', room), key('pi', room), key('pm', room)
local VERSION, LOG, OWNERS, SEEN = key('pv', room), key('pl', room), key('po', room), key('pz', room)
-- Members of whom a client broke off while others were here, and until when it may come back.
local BROKEN = key('pd', room)
-- So many of them are known; of more, the first are forgotten.
local BROKEN_MAX = 1000

-- Arguments of one command: Lua's stack has room for 8,000.
local PIECE = 1000
-- Changes that the log keeps, and about how many bytes: when those are reached a room is read faster anew.
local LOG_MAX, LOG_BYTES = 1024, 1048576

local byte, sub, find, pack = string.byte, string.sub, string.find, struct.pack
local HELD = byte('-')

local function varint(text, at)
  local value, unit = 0, 1
  while true do
    local digit = byte(text, at)
    value, at = value + digit % 128 * unit, at + 1
    if digit < 128 then
      return value, at
    end
    unit = unit * 128
  end
end

-- The head and the user of a row.
local function read(row)
  local length, at = nil, 9
  if byte(row, at) == 0x0a then
    length, at = varint(row, at + 1)
    at = at + length
  end
  if byte(row, at) == 0x10 then
    length, at = varint(row, at + 1)
  end
  local head = sub(row, 9, at - 1)
  if byte(row, at) ~= 0x1a then
    return head, ''
  end
  length, at = varint(row, at + 1)
  return head, sub(row, at, at + length - 1)
end

-- The owner whose rows have this head. (Incarnations are milliseconds since 1970, which Lua counts exactly.)
local names = {[own_head] = owner}
local function owner_of(head)
  if not names[head] then
    local length, at = varint(head, 2)
    names[head] = sub(head, at, at + length - 1) .. '.' .. (at + length <= #head and whole((varint(head, at + length + 1))) or '0')
  end
  return names[head]
end

local function member_key(client, user)
  return user ~= '' and 'u' .. user or 'c' .. client
end

-- Calls a command with any number of arguments; sums what it returns.
local function in_pieces(command, name, list)
  local sum = 0
  for first = 1, #list, PIECE do
    sum = sum + call(command, name, unpack(list, first, math.min(first + PIECE - 1, #list)))
  end
  return sum
end

-- The values of fields of a hash, `false` where there is none.
local function values(name, list)
  local found = {}
  for first = 1, #list, PIECE do
    local piece = call('HMGET', name, unpack(list, first, math.min(first + PIECE - 1, #list)))
    if #list <= PIECE then
      return piece
    end
    for index, value in ipairs(piece) do
      found[first + index - 1] = value
    end
  end
  return found
end

-- Forgets all that is of one generation. What cannot be had again from the owners, last-seen times, stays.
local function wipe()
  local gone = {USERS, ROWS, MEMBERS, OWNERS, VERSION, LOG, BROKEN}
  for _, former in ipairs(call('HKEYS', OWNERS)) do
    call('SREM', key('powned', former), room)
    gone[#gone + 1] = key('pw', former .. ' ' .. room)
  end
  in_pieces('UNLINK', CLIENTS, gone)
end

local seq, arrivals = standing(room)
local had_rows = seq ~= nil

-- Rows and members as they were (false: not there) and as they are now, in the order in which they were loaded; of a row also
-- whose it was, and the member that it is of.
local order, was, rows, heads, member_of = {}, {}, {}, {}, {}
local member_order, were, members = {}, {}, {}

local function load_rows(clients)
  local missing = {}
  for _, client in ipairs(clients) do
    if was[client] == nil then
      was[client] = false
      missing[#missing + 1] = client
    end
  end
  for index, row in ipairs(values(ROWS, missing)) do
    local client = missing[index]
    order[#order + 1] = client
    was[client], rows[client] = row, row
    if row then
      local head, user = read(row)
      heads[client], member_of[client] = head, member_key(client, user)
    end
  end
end

local function load_members(names)
  local missing = {}
  for _, name in ipairs(names) do
    if were[name] == nil then
      were[name] = false
      missing[#missing + 1] = name
    end
  end
  for index, packed in ipairs(values(MEMBERS, missing)) do
    local name = missing[index]
    member_order[#member_order + 1] = name
    were[name], members[name] = packed, packed
  end
end

-- The only client of a held member.
local function held_client(packed)
  return packed and byte(packed) == HELD and sub(packed, 3, -2)
end

-- Loads clients, the members named and those who the clients are of, and who is held of these.
local function load(clients, names)
  load_rows(clients)
  for _, client in ipairs(clients) do
    names[#names + 1] = member_of[client]
  end
  load_members(names)
  local held = {}
  for _, name in ipairs(member_order) do
    held[#held + 1] = held_client(members[name]) or nil
  end
  load_rows(held)
end

-- What is to be told, in pieces, and of how many rows.
local news, news_count = {}, 0

local function tell_put(client, arrival, body)
  local at = #news
  news[at + 1], news[at + 2], news[at + 3], news[at + 4] = '+', pack('>I2', #client), client, arrival
  news[at + 5], news[at + 6] = pack('>I4', #body), body
  news_count = news_count + 1
end

-- Takes a row away; returns the member that it was of.
local function take_away(client)
  local name = member_of[client]
  local packed = members[name]
  local at = packed and find(packed, '\255' .. client .. '\255', 2, true)
  if at then
    local rest = sub(packed, 1, at) .. sub(packed, at + #client + 2)
    members[name] = #rest > 2 and rest
  end
  rows[client] = false
  at = #news
  news[at + 1], news[at + 2], news[at + 3] = '-', pack('>I2', #client), client
  news_count = news_count + 1
  return name
end

local function put(client, name, body)
  local old = rows[client]
  if old and member_of[client] ~= name then
    take_away(client)
    old = false
  end
  local packed = members[name]
  if old then
    if held_client(packed) then
      members[name] = '+' .. sub(packed, 2)
    end
    if sub(old, 9) ~= body then
      local arrival = sub(old, 1, 8)
      rows[client] = arrival .. body
      tell_put(client, arrival, body)
    end
    return
  end
  arrivals = arrivals + 1
  local arrival = pack('>I8', arrivals)
  rows[client], member_of[client] = arrival .. body, name
  tell_put(client, arrival, body)
  local held = held_client(packed)
  if held and rows[held] then
    take_away(held)
    packed = members[name]
  end
  members[name] = (packed or '+\255') .. client .. '\255'
end

-- Whether the row is there and the caller's: it was, or was put by this call.
local function is_own(client)
  return rows[client] and (heads[client] == own_head or rows[client] ~= was[client])
end

-- The node's clock, in milliseconds since 1970.
local function now_ms()
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Of whom a client broke off while others were here, and the longest of these graces.
local broken, longest_ms = {}, 0
local function drop(client, grace_ms)
  local name = member_of[client]
  local packed = members[name]
  if packed and #packed > #client + 3 then
    take_away(client)
    if grace_ms > 0 then
      broken[#broken + 1], longest_ms = {name, grace_ms}, math.max(longest_ms, grace_ms)
    end
  elseif packed then
    members[name] = '-' .. sub(packed, 2)
  end
end

-- Users of whom a client is gone, and since when.
local seen = {}
local function gone(client, seen_ms)
  local name = take_away(client)
  if seen_max ~= '' and seen_ms ~= '' and sub(name, 1, 1) == 'u' then
    seen[#seen + 1] = {name, seen_ms}
  end
end

-- Writes what has changed, what takes away first: so a node that is out of memory lets it through, and refuses all else before
-- anything has changed. Returns the members who came, and those who went.
local function store()
  local gone_clients, new_clients, new_rows = {}, {}, {}
  local came, left = {}, {[own_head] = {}}
  for _, client in ipairs(order) do
    local before, after = was[client], rows[client]
    if before ~= after then
      local head = heads[client]
      if after then
        new_rows[#new_rows + 1] = client
        new_rows[#new_rows + 1] = after
      else
        gone_clients[#gone_clients + 1] = client
      end
      if not before then
        new_clients[#new_clients + 1] = client
      elseif not after or head ~= own_head then
        left[head] = left[head] or {}
        table.insert(left[head], client)
      end
      if after and head ~= own_head then
        came[#came + 1] = client
      end
    end
  end
  local gone_members, new_members, new_packed = {}, {}, {}
  for _, name in ipairs(member_order) do
    local before, after = were[name], members[name]
    if before and not after then
      gone_members[#gone_members + 1] = name
    elseif before ~= after then
      new_packed[#new_packed + 1] = name
      new_packed[#new_packed + 1] = after
      if not before then
        new_members[#new_members + 1] = name
      end
    end
  end

  in_pieces('SREM', CLIENTS, gone_clients)
  in_pieces('HDEL', ROWS, gone_clients)
  in_pieces('SREM', USERS, gone_members)
  in_pieces('HDEL', MEMBERS, gone_members)
  local counts = {}
  for head, clients in pairs(left) do
    counts[head] = -in_pieces('SREM', key('pw', owner_of(head) .. ' ' .. room), clients)
  end
  in_pieces('HSET', ROWS, new_rows)
  in_pieces('SADD', CLIENTS, new_clients)
  in_pieces('HSET', MEMBERS, new_packed)
  in_pieces('SADD', USERS, new_members)
  counts[own_head] = counts[own_head] + in_pieces('SADD', key('pw', owner .. ' ' .. room), came)
  for head, more in pairs(counts) do
    local name = owner_of(head)
    if more ~= 0 then
      local count = call('HINCRBY', OWNERS, name, more)
      if count <= 0 then
        call('HDEL', OWNERS, name)
        call('SREM', key('powned', name), room)
      elseif count == more then
        call('SADD', key('powned', name), room)
      end
    end
  end
  if #broken > 0 then
    local now, places = now_ms(), {}
    for _, entry in ipairs(broken) do
      places[#places + 1] = now + entry[2]
      places[#places + 1] = entry[1]
    end
    in_pieces('ZADD', BROKEN, places)
    call('ZREMRANGEBYRANK', BROKEN, 0, -1 - BROKEN_MAX)
    call('PEXPIRE', BROKEN, longest_ms)
  end
  local times = {}
  for _, entry in ipairs(seen) do
    -- Who has another one, or is back already, is not away.
    if not members[entry[1]] then
      times[#times + 1] = entry[2]
      times[#times + 1] = sub(entry[1], 2)
    end
  end
  for first = 1, #times, PIECE do
    call('ZADD', SEEN, 'GT', unpack(times, first, math.min(first + PIECE - 1, #times)))
  end
  if #times > 0 then
    call('ZREMRANGEBYRANK', SEEN, 0, -1 - tonumber(seen_max))
  end
  return new_members, gone_members
end

-- Stores, and tells what there is to tell. Returns the valid generation, the place in it, clients, members, and the change.
local function finish()
  local came, went = store()
  local clients, users = call('SCARD', CLIENTS), call('SCARD', USERS)
  local change = ''
  if news_count > 0 then
    seq = seq + 1
    change = '\1' .. generation .. pack('>I8I4I4I2', seq, clients, users, news_count) .. table.concat(news)
    if clients > 0 then
      call('HSET', VERSION, 'gen', generation, 'seq', whole(seq), 'arrivals', whole(arrivals))
      local most = math.max(1, math.min(LOG_MAX, math.floor(LOG_BYTES / #change)))
      call('XADD', LOG, 'MAXLEN', '~', most, whole(seq) .. '-0', 'd', change)
    else
      -- An empty room leaves nothing behind.
      wipe()
      floor = math.max(floor, seq)
      call('HSET', META, 'floor', whole(floor))
    end
    call('PUBLISH', key('pre', room), change)
    if told ~= '' and seen_max == '' then
      tell_of_channel(room, seq, had_rows, clients > 0)
    elseif told ~= '' then
      tell_of_users(room, seq, came, went)
    end
  end
  return {generation, whole(seq), clients, users, change}
end
