-- What services are told of a slot: the log of it, and the sets of what they were told last. Follows slot.lua.
-- Of kinds there are 'o' and 'v' (a channel became occupied, vacated), 'n' and 'f' (a user went online, offline), and 'r': something
-- may not have been told, read what is so.

local TOLD_LOG = key('hl', 'log')
-- What a slot's log holds. More than that nobody has read for long: all of it becomes one 'r'.
local TOLD_MAX = 4096

local news_of_services = {}
local function tell(kind, name, place)
  news_of_services[#news_of_services + 1] = {kind, name, whole(place)}
end

-- Adds to what was told, or takes away; what was told already is not told again.
local function tell_if_new(command, set, member, kind, name, place)
  local is_new = call(command, key('ht', set), member) == 1
  if is_new then
    tell(kind, name, place)
  end
  return is_new
end

-- The same of a member in a partition of the users; clients without a user's id are nobody to tell of.
local function tell_user(command, partition, member, kind, place)
  return string.byte(member) == 117 and tell_if_new(command, partition, member, kind, string.sub(member, 2), place)
end

-- Writes the log. Whoever tells services hears of it at once.
local function log_told()
  if #news_of_services == 0 then
    return
  end
  local now = call('TIME')
  local ms = whole(now[1] * 1000 + math.floor(now[2] / 1000))
  if call('XLEN', TOLD_LOG) + #news_of_services > TOLD_MAX then
    call('XTRIM', TOLD_LOG, 'MAXLEN', 0)
    call('XADD', TOLD_LOG, '*', 'k', 'r', 'n', '', 'g', generation, 's', '0', 't', ms)
  end
  for _, event in ipairs(news_of_services) do
    call('XADD', TOLD_LOG, '*', 'k', event[1], 'n', event[2], 'g', generation, 's', event[3], 't', ms)
  end
  call('PUBLISH', 'hc:hooks', string.match(prefix, '%d+'))
end

-- A channel has changed.
local function tell_of_channel(room, place, had_members, has_members)
  if not has_members then
    tell_if_new('SREM', 'rooms', room, 'v', room, place)
  elseif not had_members then
    tell_if_new('SADD', 'rooms', room, 'o', room, place)
  end
  log_told()
end

-- Members came and went in a partition of the users.
local function tell_of_users(partition, place, came, went)
  for _, member in ipairs(went) do
    tell_user('SREM', partition, member, 'f', place)
  end
  for _, member in ipairs(came) do
    tell_user('SADD', partition, member, 'n', place)
  end
  log_told()
end
