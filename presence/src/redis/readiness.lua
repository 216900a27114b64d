-- Follows slot.lua. ARGV: … the room. Returns the valid generation, the room's place in it, and owner by owner all who are ready
-- and in which one.
return {generation or NO_GENERATION, whole(standing(ARGV[3]) or floor), generation and call('HGETALL', READY) or {}}
