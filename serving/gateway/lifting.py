"""Photos that have waited for long go on with the urgent ones, or they might wait for ever."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from coredis import Redis, RedisCluster
from streaq.constants import REDIS_GROUP

# KEYS: streams, the highest priority first; ARGV: group of the workers, until when they came in ms, how many
LIFT = """
local left = tonumber(ARGV[3])
for i = 2, #KEYS do
  local read = '0-0'
  local exists, groups = pcall(redis.call, 'XINFO', 'GROUPS', KEYS[i])
  for _, group in ipairs(exists and groups or {}) do
    local about = {}
    for j = 1, #group, 2 do about[group[j]] = group[j + 1] end
    if about['name'] == ARGV[1] then read = about['last-delivered-id'] end
  end
  if left > 0 then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[i], '(' .. read, ARGV[2], 'COUNT', left)) do
      redis.call('XADD', KEYS[1], '*', unpack(entry[2]))
      redis.call('XDEL', KEYS[i], entry[1])
      left = left - 1
    end
  end
end
return tonumber(ARGV[3]) - left
"""


async def lift(
    redis: Redis[str] | RedisCluster[str], streams: Sequence[str], older_than: timedelta, most: int
) -> int:
    """Move what no worker has taken for so long to the end of the first stream; returns how many photos.

    One step of Redis, so that none is lost or there twice.

    Args:
        streams: of the priorities, the highest first, then those to be looked at, in this order.
    """
    until_ms = int((datetime.now(UTC) - older_than).timestamp() * 1000)
    return cast(int, await redis.eval(LIFT, list(streams), [REDIS_GROUP, str(until_ms), str(most)]))
