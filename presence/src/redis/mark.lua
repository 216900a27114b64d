-- Marks a node: all rows are announced here, in this life and by this ring. ARGV: the gateway that has asked, its question, life and
-- ring, then all gateways that must have answered.
-- Returns 'MARKED'; or 'ASK' if the question is not there, as after a loss of data or another one's question; or the first
-- gateway that has not answered, after a '-'.
local call = redis.call
local mark = call('HMGET', 'hc:hooks', 'ask', 'life', 'ring')
if call('GET', 'hc:hooks:teller') ~= ARGV[1] or mark[1] ~= ARGV[2] or (mark[2] == ARGV[3] and tonumber(mark[3]) > tonumber(ARGV[4])) then
  return 'ASK'
end
for index = 5, #ARGV do
  if call('HGET', 'hc:hooks:answers', ARGV[index]) ~= ARGV[2] then
    return '-' .. ARGV[index]
  end
end
-- What another life has kept may be old. Without any mark it is what each slot has kept that tells: a new node has all of it.
if mark[2] and mark[2] ~= ARGV[3] then
  call('HSET', 'hc:hooks', 'due', '1')
end
call('HSET', 'hc:hooks', 'life', ARGV[3], 'ring', ARGV[4])
call('HDEL', 'hc:hooks', 'ask', 'said', 'passed')
call('DEL', 'hc:hooks:answers')
return 'MARKED'
