-- Publishes without a trace.
-- KEYS: fence. ARGV: the ring's epoch, the Redis channel, the envelope.
local fence = redis.call('GET', KEYS[1])
if fence and tonumber(fence) > tonumber(ARGV[1]) then
  return redis.error_reply('STALERING ' .. fence)
end
return redis.call('PUBLISH', ARGV[2], ARGV[3])
