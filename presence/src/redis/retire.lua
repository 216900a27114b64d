-- Declares an owner dead where it has no rows. Follows slot.lua.
-- ARGV: … gateway, the least incarnation that may write, the owner. Returns 1.
retire(ARGV[3], ARGV[4], ARGV[5])
return 1
