-- A client is here: an entry in a hash, and in a sorted set the time after which it does not count. Refreshed like this
-- again and again. As Centrifugo's engine for Redis keeps presence.
-- KEYS: the set, the hash. ARGV: seconds for which the keys live, when the entry ends, the client, its info, and where
-- others are told, '' for a mere refresh.
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
if ARGV[5] ~= '' then
  redis.call('PUBLISH', ARGV[5], ARGV[4])
end
