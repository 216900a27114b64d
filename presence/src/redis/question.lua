-- Asks all gateways whether their rows are announced here. ARGV: the gateway that asks, the question. Returns 1, or 0 if it does not
-- hold the lease.
if redis.call('GET', 'hc:hooks:teller') ~= ARGV[1] then
  return 0
end
redis.call('DEL', 'hc:hooks:answers')
redis.call('HSET', 'hc:hooks', 'ask', ARGV[2])
return 1
