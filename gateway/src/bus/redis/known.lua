-- Reads what is known of another region's stream of the channel. Follows stream.lua.
-- ARGV: … the region.
-- Returns epoch and offset there, empty if nothing is known; or 'PULL'.

local refused = refusal()
if refused then
  return refused
end
if not stream() then
  return 'PULL'
end
local known = redis.call('HGET', KEYS[2], 'from:' .. ARGV[5])
if not known then
  return {}
end
local epoch, offset = string.match(known, '^(%S+) (%d+)$')
return {epoch, offset}
