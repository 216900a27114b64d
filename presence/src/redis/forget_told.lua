-- Nobody tells services of this node any more: forgets what is kept of a slot for that. Follows slot.lua.
-- ARGV: … the partition of the users in the slot ('': none). Returns 0, and changes nothing, if somebody does after all.
if call('EXISTS', 'hc:hooks:teller') == 1 then
  return 0
end
call('UNLINK', key('hl', 'log'), key('ht', 'rooms'), key('ht', ARGV[3]))
if told ~= '' then
  call('HSET', META, 'hooks', '')
end
return 1
