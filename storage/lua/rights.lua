#!lua flags=allow-oom
-- rights: which commands this connection's user may not run on keys of the partition; runs none of them.
-- USES prelude
-- KEYS[1] prefix; built from it: nothing, the prefix itself stands for any key
-- ARGV[1..] a command and its arguments, joined by spaces; % is a key
-- RETURNS {"OK", {number of each refused one among ARGV, from 1, ...}}
-- A server that only speaks the protocol may not have the question.
local refused, ask = {}, redis.acl_check_cmd
if not ask then return {'OK', refused} end
for i = 1, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '%S+') do words[#words + 1] = word == '%' and T or word end
  if not ask(unpack(words)) then refused[#refused + 1] = i end
end
return {'OK', refused}
