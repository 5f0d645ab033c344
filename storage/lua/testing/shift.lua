-- shift: tests only, put behind the prelude: the clock of all scripts is the server's and, on top of it, the ms in the key `clock`.
now_us = now_us + (redis.call('GET', T .. 'clock') or '0') * 1000
now = math.floor(now_us / 1000)
