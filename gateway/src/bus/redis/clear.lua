-- Forgets what is kept; positions go on. Follows stream.lua.
local refused = refusal()
if refused then
  return refused
end
if not stream() then
  return 'PULL'
end
redis.call('DEL', KEYS[3])
return 'OK'
