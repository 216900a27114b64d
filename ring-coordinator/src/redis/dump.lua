-- What a node has kept of a channel, to be taken over by another one. Nothing if it was written in another life, and
-- 'TOOLARGE' if that would take too long.
-- KEYS: meta, history, once. ARGV: this node's life, the most bytes in memory.
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then
  return {}
end
-- Asked before anything is dumped: the node serves nobody else meanwhile.
local bytes = 0
for index = 1, 3 do
  bytes = bytes + (redis.call('MEMORY', 'USAGE', KEYS[index]) or 0)
end
if bytes > tonumber(ARGV[2]) then
  return 'TOOLARGE'
end
local kept = {}
for index = 1, 3 do
  kept[2 * index - 1] = redis.call('DUMP', KEYS[index]) or ''
  local ttl = redis.call('PTTL', KEYS[index])
  -- To RESTORE, 0 is for ever; here it is the last millisecond.
  kept[2 * index] = ttl < 0 and 0 or math.max(ttl, 1)
end
return kept
