-- Publishes once: with a place in history, or with an idempotency key, or both. Follows stream.lua.
-- ARGV: … size of the history (0: keep nothing), its milliseconds, opening and body of the envelope, the Redis channel,
-- '1' if an earlier try may have arrived, the idempotency key ('': none), the region of whose stream it is a piece ('': of
-- this one), the epoch there, the offset after which there is nothing before it, and its own; without a body publications are lost; '1'
-- if other regions want what is published in this one; '1' if this is only a place, where nobody has missed anything; the epoch there
-- in place of which its one is told ('': none).
-- Returns epoch and offset, 'PULL', or of a piece 'KNOWN', 'BEHIND' or 'LOST'.

-- Milliseconds for which idempotency keys are remembered.
local ONCE_MS = 300000
-- Idempotency keys of one channel; at the bound those that have expired are forgotten, and others until half are left.
local ONCE_MAX = 4096
-- Publications among which a retry is looked for.
local RETRY_LOOK = 1000

local size, ttl_ms, opening, body, channel, repeated, key = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11]
local region, its_epoch, after, its_offset, is_global = ARGV[12], ARGV[13], tonumber(ARGV[14]), ARGV[15], ARGV[16] == '1'
local begins, instead = ARGV[17] == '1', ARGV[18]

local refused = refusal()
if refused then
  return refused
end
local epoch, top, certain_ms = stream()
if not epoch then
  return 'PULL'
end
local now = now_ms()

local function remember(position)
  if redis.call('HLEN', KEYS[4]) >= ONCE_MAX then
    local kept = redis.call('HGETALL', KEYS[4])
    redis.call('DEL', KEYS[4])
    for index = 1, #kept, 2 do
      if redis.call('HLEN', KEYS[4]) < ONCE_MAX / 2 and tonumber(string.match(kept[index + 1], '^%d+')) > now then
        redis.call('HSET', KEYS[4], kept[index], kept[index + 1])
      end
    end
  end
  redis.call('HSET', KEYS[4], key, whole(now + ONCE_MS) .. ' ' .. position[1] .. ' ' .. position[2])
  redis.call('PEXPIRE', KEYS[4], ONCE_MS)
end

if key ~= '' then
  local done = redis.call('HGET', KEYS[4], key)
  if done then
    local expires, epoch_then, offset_then = string.match(done, '^(%d+) (%w*) (%d+)$')
    if tonumber(expires) > now then
      return {epoch_then, offset_then}
    end
  end
end

-- As import.rs judges.
if region ~= '' then
  local known = redis.call('HGET', KEYS[2], 'from:' .. region)
  if known then
    local known_epoch, known_offset = string.match(known, '^(%S+) (%d+)$')
    if known_epoch == its_epoch and tonumber(its_offset) <= tonumber(known_offset) then
      return 'KNOWN'
    end
    if known_epoch == its_epoch and after > tonumber(known_offset) or known_epoch ~= its_epoch and known_epoch ~= instead then
      return 'BEHIND'
    end
  end
  redis.call('HSET', KEYS[2], 'from:' .. region, its_epoch .. ' ' .. its_offset)
  if body == '' then
    if known and not begins then
      redis.call('HSET', KEYS[2], 'top', whole(top + 1))
    end
    return 'LOST'
  end
end

local position = {'', '0'}
if size > 0 then
  local id = string.sub(opening, 3)
  if repeated == '1' then
    for _, entry in ipairs(redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', RETRY_LOOK)) do
      if entry[2][2] == id then
        return {epoch, whole(offset_of(entry))}
      end
    end
  end
  top = top + 1
  position = {epoch, whole(top)}
  local entry = {'id', id, 'until', whole(now + ttl_ms), 'body', body}
  if is_global and region == '' then
    entry[7], entry[8] = 'before', redis.call('HGET', KEYS[2], 'own') or '0'
    redis.call('HSET', KEYS[2], 'own', position[2])
  end
  redis.call('XADD', KEYS[3], 'MAXLEN', '=', size, position[2] .. '-0', unpack(entry))
  if now + ttl_ms > certain_ms then
    -- Now and then, not each time. Readers look at each publication's own time, so that it may be somewhat longer.
    certain_ms = now + ttl_ms + math.floor(ttl_ms / 8)
    redis.call('PEXPIREAT', KEYS[3], whole(certain_ms))
    redis.call('PEXPIREAT', KEYS[2], whole(certain_ms + IDLE_MS))
    redis.call('HSET', KEYS[2], 'top', position[2], 'until', whole(certain_ms))
  else
    redis.call('HSET', KEYS[2], 'top', position[2])
  end
  redis.call('PUBLISH', channel, opening .. epoch .. struct.pack('>I8', top) .. body)
else
  redis.call('PUBLISH', channel, opening .. string.rep('\0', 16) .. body)
end
if key ~= '' then
  remember(position)
end
return position
