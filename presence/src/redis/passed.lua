-- All slots of a node are compared since it was marked for this life and ring. ARGV: the gateway that has done it, life, ring.
-- Returns 0 if it was marked otherwise since, or is not this gateway's to tell of any more.
local mark = redis.call('HMGET', 'hc:hooks', 'life', 'ring')
if redis.call('GET', 'hc:hooks:teller') ~= ARGV[1] or mark[1] ~= ARGV[2] or mark[2] ~= ARGV[3] then
  return 0
end
redis.call('HSET', 'hc:hooks', 'passed', '1')
return 1
