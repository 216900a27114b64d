-- The beginning of every script of presence: who is let in, and which generation of the slot is valid.
-- KEYS: the slot's fence. All other names follow from it, `hc:{slot}:<kind>:<room>`.
-- ARGV: the ring's epoch, this node's life.

local call = redis.call
local prefix = string.sub(KEYS[1], 1, -1 - #'min_epoch')
local META, FENCES, READY = prefix .. 'pmeta', prefix .. 'pfence', prefix .. 'pready'
local TURNS = prefix .. 'pturn'

local function key(kind, of)
  return prefix .. kind .. ':' .. of
end

-- Whole numbers beyond 10^14 would be written with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

local fence, ring = tonumber(call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
if fence > ring then
  return redis.error_reply('STALERING ' .. whole(fence))
end

local meta = call('HMGET', META, 'life', 'ring', 'n', 'gen', 'floor', 'hooks')
-- Taken in again, the same process has another life; who has not heard of it would begin a generation of the old one, and
-- those who have one of the new one, for ever.
if meta[1] and meta[1] ~= ARGV[2] and string.match(meta[1], '^%w+') == string.match(ARGV[2], '^%w+') and tonumber(meta[2]) > ring then
  return redis.error_reply('STALERING ' .. meta[2])
end

-- The valid generation, as its 8 bytes; nil if there is none. One that was begun by a ring older than the fence is from
-- before this node has lost the slot. `floor` is the highest place that a room of it had reached when it became empty and was
-- forgotten: rooms begin there, so that no place is given out twice in a generation. `told`: whether services are told of its
-- changes at once; '' if not, '2' if what they were told is what is so, '1' if that is not compared yet. It stands before the
-- generation that it is about: gateways of an older version begin others and know nothing of it.
local generation, floor, told = nil, 0, ''
if meta[1] == ARGV[2] and tonumber(meta[2]) >= fence then
  generation, floor = meta[4], tonumber(meta[5])
  if meta[6] and string.sub(meta[6], 2) == generation then
    told = string.sub(meta[6], 1, 1)
  end
end

-- Begins a generation. Its high half counts them, its low half is of the process. Without a meta (FLUSHALL leaves the process
-- as it is) counting from 1 could repeat one that was there before: then it goes on from the clock's microseconds.
local function begin()
  local before = tonumber(meta[3])
  if not before then
    local now = call('TIME')
    before = now[1] * 1000000 + now[2]
  end
  local number = before % 4294967295 + 1
  generation, floor = struct.pack('>I4I4', number, tonumber(string.sub(ARGV[2], 1, 8), 16) or 0), 0
  -- Where all who may have rows had announced them by this ring or a later one, and none is here, nobody has any.
  local settled = call('HMGET', 'hc:hooks', 'life', 'ring')
  told = settled[1] == ARGV[2] and tonumber(settled[2]) >= ring and '1' or ''
  local hooks = told == '' and '' or told .. generation
  call('HSET', META, 'life', ARGV[2], 'ring', ARGV[1], 'n', whole(number), 'gen', generation, 'floor', '0', 'hooks', hooks)
  call('DEL', READY)
end

-- The room's place in the valid generation, and how many have arrived; nothing if it has no rows in it.
local function standing(room)
  local version = call('HMGET', key('pv', room), 'gen', 'seq', 'arrivals')
  if generation and version[1] == generation then
    return tonumber(version[2]), tonumber(version[3])
  end
end

-- The least incarnation that may write, if this one is below it. Both are decimal numbers without leading zeros.
local function fence_above(gateway, incarnation)
  local least = call('HGET', FENCES, gateway)
  if least and (#incarnation < #least or (#incarnation == #least and incarnation < least)) then
    return least
  end
end

-- An error for an incarnation that was declared dead.
local function refusal(gateway, incarnation)
  local least = fence_above(gateway, incarnation)
  if least then
    return redis.error_reply('FENCED ' .. least)
  end
end

-- Declares dead what is below `least`, the owner among it. What takes away comes first: after it a node that is out of memory
-- lets the rest through.
local function retire(gateway, least, owner)
  call('HDEL', READY, owner)
  call('HDEL', TURNS, owner)
  if not fence_above(gateway, least) then
    call('HSET', FENCES, gateway, least)
  end
end

local NO_GENERATION = string.rep('\0', 8)
