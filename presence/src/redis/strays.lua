-- ARGV: the ring's epoch, this node's life, an owner, then slots and the generations in which it has announced its rows.
-- Returns those slots in which they do not stand in the valid generation.
local call = redis.call
local ring, strays = tonumber(ARGV[1]), {}
for index = 4, #ARGV, 2 do
  local prefix, generation = 'hc:{' .. ARGV[index] .. '}:', ARGV[index + 1]
  local fence = tonumber(call('GET', prefix .. 'min_epoch') or '0')
  local meta = call('HMGET', prefix .. 'pmeta', 'life', 'ring', 'gen')
  local is_valid = fence <= ring and meta[1] == ARGV[2] and tonumber(meta[2]) >= fence and meta[3] == generation
  if not is_valid or call('HGET', prefix .. 'pready', ARGV[3]) ~= generation then
    strays[#strays + 1] = ARGV[index]
  end
end
return strays
