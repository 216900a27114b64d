-- Takes or keeps the lease of the one who tells services of a node. ARGV: the gateway, for how long in milliseconds.
-- Returns whether it has it, and if so for which life and up to which ring the node is marked, and whether all was compared since.
local holder = redis.call('GET', 'hc:hooks:teller')
if holder and holder ~= ARGV[1] then
  return {0}
end
redis.call('SET', 'hc:hooks:teller', ARGV[1], 'PX', ARGV[2])
local mark = redis.call('HMGET', 'hc:hooks', 'life', 'ring', 'passed')
return {1, mark[1] or '', mark[2] or '0', mark[3] or ''}
