-- What services are to be told of a slot, the oldest first. Follows slot.lua. ARGV: … the most.
return call('XRANGE', key('hl', 'log'), '-', '+', 'COUNT', ARGV[3])
