-- Reads what is kept. Follows stream.lua.
-- ARGV: … exclusive start ('': the oldest or, in reverse, the newest), the most publications, '1' for newest first.
-- Returns epoch, top, then offset and body of each publication; or 'PULL'.

local since, most, reverse = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'

local refused = refusal()
if refused then
  return refused
end
local epoch, top = stream()
if not epoch then
  return 'PULL'
end
local reply = {epoch, whole(top)}
local oldest = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
if most == 0 or not oldest then
  return reply
end

-- Offsets follow each other, but for those that other regions have lost, so that the first one that has not expired is found by
-- halving.
local now = now_ms()
local function lives(offset)
  local entry = redis.call('XRANGE', KEYS[3], whole(offset), '+', 'COUNT', 1)[1]
  return not entry or tonumber(entry[2][4]) > now
end
local low, high = offset_of(oldest), top + 1
if lives(low) then
  high = low
end
while low < high do
  local middle = math.floor((low + high) / 2)
  if lives(middle) then
    high = middle
  else
    low = middle + 1
  end
end

local found = {}
if reverse then
  local last = since and since - 1 or top
  if last >= low then
    found = redis.call('XREVRANGE', KEYS[3], whole(last), whole(low), 'COUNT', most)
  end
else
  found = redis.call('XRANGE', KEYS[3], whole(math.max(low, (since or 0) + 1)), '+', 'COUNT', most)
end
for _, entry in ipairs(found) do
  reply[#reply + 1] = whole(offset_of(entry))
  reply[#reply + 1] = entry[2][6]
end
return reply
