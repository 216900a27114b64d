-- Takes over what another node has kept of a channel, unless this one has a stream of its own in this life: first one wins.
-- KEYS: fence, meta, history, once. ARGV: the ring's epoch, this node's life, then of each key its dump and its time to live
-- in milliseconds (0: for ever).
local fence = tonumber(redis.call('GET', KEYS[1]) or '0')
if fence > tonumber(ARGV[1]) then
  return redis.error_reply('STALERING ' .. string.format('%.0f', fence))
end
-- What is older than the fence is from before this node has lost the slot.
local meta = redis.call('HMGET', KEYS[2], 'life', 'ring')
if meta[1] == ARGV[2] and tonumber(meta[2]) >= fence then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
for index = 1, 3 do
  local dump, ttl = ARGV[1 + 2 * index], ARGV[2 + 2 * index]
  if dump ~= '' then
    local done = redis.pcall('RESTORE', KEYS[1 + index], ttl, dump)
    if done.err then
      redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
      return redis.error_reply('BADDUMP ' .. done.err)
    end
  end
end
-- Until when it is certain to be there was said by another clock.
redis.call('HSET', KEYS[2], 'life', ARGV[2], 'ring', ARGV[1], 'until', '0')
return 1
