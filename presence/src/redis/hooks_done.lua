-- Services were told up to an entry of the log. Follows slot.lua. ARGV: … its id. Returns how many entries are forgotten.
local ms, number = string.match(ARGV[3], '^(%d+)%-(%d+)$')
return call('XTRIM', key('hl', 'log'), 'MINID', ms .. '-' .. whole(number + 1))
