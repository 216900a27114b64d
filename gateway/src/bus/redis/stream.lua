-- The beginning of every script on a channel's stream.
-- KEYS: fence, meta, history, once.
-- ARGV: the ring's epoch, this node's life, what to do without a stream ('pull' or 'begin'), the epoch of a new stream.

-- The meta of a stream without publications lives so long, and of others so much longer than the publications.
local IDLE_MS = 3600000

local fence = tonumber(redis.call('GET', KEYS[1]) or '0')

-- An error for those who come by a ring that is too old.
local function refusal()
  if fence > tonumber(ARGV[1]) then
    return redis.error_reply('STALERING ' .. string.format('%.0f', fence))
  end
end

-- Epoch and top of the stream and until when it is certain to be there, in milliseconds since 1970; it is begun if there is none of this life; nothing if it has to be fetched first. One that
-- was begun or taken over by a ring older than the fence is from before this node has lost the slot, and does not count.
local function stream()
  local meta = redis.call('HMGET', KEYS[2], 'life', 'epoch', 'top', 'ring', 'until')
  if meta[1] == ARGV[2] and tonumber(meta[4]) >= fence then
    return meta[2], tonumber(meta[3]), tonumber(meta[5])
  end
  if ARGV[3] == 'pull' then
    return nil
  end
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  redis.call('HSET', KEYS[2], 'life', ARGV[2], 'epoch', ARGV[4], 'top', '0', 'ring', ARGV[1], 'until', '0')
  redis.call('PEXPIRE', KEYS[2], IDLE_MS)
  return ARGV[4], 0, 0
end

local function now_ms()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Whole numbers beyond 10^14 would be written with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- A publication's offset is the first half of its id.
local function offset_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end
