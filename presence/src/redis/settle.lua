-- Compares what services were told of a slot with what is so, logs the differences, and has them told at once from now on.
-- Follows slot.lua and told.lua. Only where all who may have rows of the slot have announced them, see mark.lua.
-- ARGV: … the partition of the users in the slot ('': none), the most differences that one call logs.
-- Returns 1 if there may be more of them: call again.

local partition, left = ARGV[3], tonumber(ARGV[4])
local mark = call('HMGET', 'hc:hooks', 'life', 'ring', 'due', 'said')
if mark[1] ~= ARGV[2] or tonumber(mark[2]) ~= ring then
  return redis.error_reply('UNMARKED this node has not heard that all rows are announced')
end
if not generation then
  begin()
end
if told == '2' then
  return 0
end

-- Besides channels the set has ' ' and the ring by which it was compared: a set that is older than the fence was left behind
-- when the slot went elsewhere, and what was told there since is not known.
local rooms, marks, is_kept = {}, {}, false
for _, name in ipairs(call('SMEMBERS', key('ht', 'rooms'))) do
  if string.byte(name) == 32 then
    marks[#marks + 1] = name
    is_kept = is_kept or tonumber(string.sub(name, 2)) >= fence
  else
    rooms[#rooms + 1] = name
  end
end
call('SADD', key('ht', 'rooms'), ' ' .. ARGV[1])
for _, name in ipairs(marks) do
  if name ~= ' ' .. ARGV[1] then
    call('SREM', key('ht', 'rooms'), name)
  end
end
if not is_kept then
  call('XTRIM', TOLD_LOG, 'MAXLEN', 0)
end
-- Once in a pass over the node, if anything was lost; and if the node began another life, for what it holds may be old.
if (not is_kept or mark[3] == '1') and mark[4] ~= '1' then
  call('HSET', 'hc:hooks', 'said', '1')
  call('HDEL', 'hc:hooks', 'due')
  tell('r', '', 0)
end

local function count(is_new)
  left = left - (is_new and 1 or 0)
end
for _, name in ipairs(rooms) do
  if left > 0 and not standing(name) then
    count(tell_if_new('SREM', 'rooms', name, 'v', name, floor))
  end
end
-- Whoever has rows has had a turn, or was ready.
local owners = {}
for _, of in ipairs({TURNS, READY}) do
  for _, owner in ipairs(call('HKEYS', of)) do
    owners[owner] = true
  end
end
for owner in pairs(owners) do
  for _, name in ipairs(call('SMEMBERS', key('powned', owner))) do
    -- No channel has a space in its name, and partitions do.
    local place = left > 0 and not string.find(name, ' ', 1, true) and standing(name)
    if place then
      count(tell_if_new('SADD', 'rooms', name, 'o', name, place))
    end
  end
end
if partition ~= '' then
  local were, are, place = key('ht', partition), key('pu', partition), standing(partition)
  for _, name in ipairs(place and call('SDIFF', were, are) or call('SMEMBERS', were)) do
    if left > 0 then
      count(tell_user('SREM', partition, name, 'f', place or floor))
    end
  end
  for _, name in ipairs(place and call('SDIFF', are, were) or {}) do
    if left > 0 then
      count(tell_user('SADD', partition, name, 'n', place))
    end
  end
  call('SADD', were, ' ')
end
-- None of the keys is ever missing: what is handed over to a node replaces what was left behind there.
if call('EXISTS', TOLD_LOG) == 0 then
  call('XDEL', TOLD_LOG, call('XADD', TOLD_LOG, '*', 'k', ''))
end
call('HSET', META, 'hooks', (left > 0 and '2' or '1') .. generation)
log_told()
return left > 0 and 0 or 1
