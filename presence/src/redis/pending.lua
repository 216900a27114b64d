-- ARGV: slots. Returns those of which there is something to tell services, each with how much.
local found = {}
for _, slot in ipairs(ARGV) do
  local length = redis.call('XLEN', 'hc:{' .. slot .. '}:hl:log')
  if length > 0 then
    found[#found + 1], found[#found + 2] = slot, length
  end
end
return found
