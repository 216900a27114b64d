-- A client is gone; see refresh.lua.
-- KEYS: the set, the hash. ARGV: the client, its info, where others are told.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[2])
