-- Raises the fences KEYS to the epoch ARGV[1]; one that is higher stays. Returns how many it has raised.
-- Epochs are compared as numbers: they are counted from 1, far below 2^53.
local raised = 0
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') < tonumber(ARGV[1]) then
    redis.call('SET', key, ARGV[1])
    raised = raised + 1
  end
end
return raised
