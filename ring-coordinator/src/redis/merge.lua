-- Takes over what another node has kept for a slot and nobody can say again. What is here already stays, with what was there:
-- of last-seen times (pz) the later ones, of those whose contact a user is (pb) all; a list of contacts (pk) that is here is newer.
-- What services were told (ht), and what is to be told (hl), goes on from there: whatever is here was left behind. But once
-- services are told here, by this ring or a later one, that is newer.
-- KEYS: fence, the key. ARGV: the ring's epoch, the dump. Returns 1, or 0 if what is here is newer.
local fence = tonumber(redis.call('GET', KEYS[1]) or '0')
if fence > tonumber(ARGV[1]) then
  return redis.error_reply('STALERING ' .. string.format('%.0f', fence))
end
local slot, kind = string.match(KEYS[2], '^(hc:{%d+}:)(%a%a):')
if kind == 'ht' or kind == 'hl' then
  local meta = redis.call('HMGET', slot .. 'pmeta', 'ring', 'gen', 'hooks')
  if meta[3] and string.sub(meta[3], 2) == meta[2] and tonumber(meta[1]) >= tonumber(ARGV[1]) then
    return 0
  end
  redis.call('RESTORE', KEYS[2], 0, ARGV[2], 'REPLACE')
elseif redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('RESTORE', KEYS[2], 0, ARGV[2])
elseif kind == 'pk' then
  return 0
else
  local other = KEYS[2] .. ' moved'
  redis.call('RESTORE', other, 0, ARGV[2], 'REPLACE')
  if kind == 'pz' then
    redis.call('ZUNIONSTORE', KEYS[2], 2, KEYS[2], other, 'AGGREGATE', 'MAX')
  else
    redis.call('SUNIONSTORE', KEYS[2], KEYS[2], other)
  end
  redis.call('DEL', other)
end
return 1
