-- As cesload's ingress-64.toml. The frames come from a capture:
--
--   perf/profiles/ces_frames.py --bindings FILE --direction ingress --size 64 --pcap ingress-64.pcap --destination-mac GATEWAY
--   pktgen -l 0-2 -- -P -m "1.0,2.1" -s 0:ingress-64.pcap -f perf/profiles/pktgen/ingress-64.lua
package.path = package.path .. ";perf/profiles/pktgen/?.lua;?.lua"
require "ces_capture"

capture_trial { name = "ingress-64", send = "0", receive = "1", percent = 100, seconds = 10 }
