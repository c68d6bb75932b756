-- One trial with the frames of a capture that `cesload frames` has written: sends for some seconds, waits for what is under way,
-- and tells what came back. Pktgen's range mode counts addresses up, and a session tag cannot be counted up: it is an encrypted
-- handle. It tells no loss from duplication or reordering, and has no delay of frames from a capture.
--
--   pktgen -l 0-2 -- -P -m "1.0,2.1" -s 0:egress-64.pcap -f perf/profiles/pktgen/capture.lua
--
-- Not run here with Pktgen: see ../README.md.

-- Ports, percent of line rate, seconds, and how long frames may be under way, in milliseconds.
local SEND, RECEIVE, PERCENT, SECONDS, DRAIN = "0", "1", 100, 10, 500

pktgen.screen("off")
pktgen.stop("all")
pktgen.pcap(SEND, "on")
pktgen.set(SEND, "count", 0)
pktgen.set(SEND, "rate", PERCENT)
pktgen.clr()
pktgen.start(SEND)
pktgen.delay(SECONDS * 1000)
pktgen.stop(SEND)
pktgen.delay(DRAIN)
local sent = pktgen.portStats(SEND, "port")[tonumber(SEND)].opackets
local received = pktgen.portStats(RECEIVE, "port")[tonumber(RECEIVE)].ipackets
printf("sent %d, received %d, lost %d (%.6f), %.0f packets/s received\n", sent, received, sent - received,
    (sent - received) / math.max(sent, 1), received / SECONDS)
pktgen.pcap(SEND, "off")
