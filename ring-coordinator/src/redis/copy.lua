-- Leaves the document ARGV[2] of epoch ARGV[1] in KEYS[1], and its epoch in KEYS[2], unless a newer one lies there.
if tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[1]) then
  redis.call('MSET', KEYS[1], ARGV[2], KEYS[2], ARGV[1])
  return 1
end
return 0
