-- Reads what was published in this region. Follows stream.lua.
-- ARGV: … exclusive start, the most publications.
-- Returns epoch and the offset of the last one, then of each: the offset of the one before, its own, its body; or 'PULL'.

-- Entries looked at in one step, of which many may be of other regions.
local LOOK = 500

local since, most = tonumber(ARGV[5]), tonumber(ARGV[6])

local refused = refusal()
if refused then
  return refused
end
local epoch, top = stream()
if not epoch then
  return 'PULL'
end
local reply = {epoch, redis.call('HGET', KEYS[2], 'own') or '0'}
local now, left = now_ms(), most
while left > 0 and since < top do
  local entries = redis.call('XRANGE', KEYS[3], '(' .. whole(since) .. '-0', '+', 'COUNT', LOOK)
  for _, entry in ipairs(entries) do
    since = offset_of(entry)
    if left > 0 and entry[2][8] and tonumber(entry[2][4]) > now then
      left = left - 1
      reply[#reply + 1] = entry[2][8]
      reply[#reply + 1] = whole(since)
      reply[#reply + 1] = entry[2][6]
    end
  end
  if #entries < LOOK then
    break
  end
end
return reply
