-- Keeps a copy of the ring document, unless there is one that is not older, and tells those who listen.
-- KEYS: the copy. ARGV: its epoch, the document, the Redis channel for the news, the news. Returns 1 if it was taken.
local known = redis.call('GET', KEYS[1])
if known then
  local read, document = pcall(cjson.decode, known)
  if read and type(document) == 'table' and tonumber(document.epoch or 0) >= tonumber(ARGV[1]) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
