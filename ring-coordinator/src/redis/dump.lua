-- What a node has kept of a channel, to be taken over by another one. Nothing if it was written in another life, and
-- 'TOOLARGE' if that would take too long. What is taken stands still: the fence is raised first, if the coordinator has not
-- done it yet, as when a node was lost and slots of others move with its own.
-- KEYS: fence, meta, history, once. ARGV: the ring's epoch, this node's life, the most bytes in memory.
local fence, epoch = tonumber(redis.call('GET', KEYS[1]) or '0'), tonumber(ARGV[1])
if fence > epoch then
  return redis.error_reply('STALERING ' .. string.format('%.0f', fence))
end
if fence < epoch then
  redis.call('SET', KEYS[1], ARGV[1])
end
if redis.call('HGET', KEYS[2], 'life') ~= ARGV[2] then
  return {}
end
-- Asked before anything is dumped: the node serves nobody else meanwhile.
local bytes = 0
for index = 2, 4 do
  bytes = bytes + (redis.call('MEMORY', 'USAGE', KEYS[index]) or 0)
end
if bytes > tonumber(ARGV[3]) then
  return 'TOOLARGE'
end
local kept = {}
for index = 2, 4 do
  kept[#kept + 1] = redis.call('DUMP', KEYS[index]) or ''
  local ttl = redis.call('PTTL', KEYS[index])
  -- To RESTORE, 0 is for ever; here it is the last millisecond.
  kept[#kept + 1] = ttl < 0 and 0 or math.max(ttl, 1)
end
return kept
