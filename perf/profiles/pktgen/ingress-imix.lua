-- As cesload's ingress-imix.toml. The frames come from a capture:
--
--   perf/profiles/ces_frames.py --bindings FILE --direction ingress --sizes imix-simple --pcap ingress-imix.pcap --destination-mac GATEWAY
--   pktgen -l 0-2 -- -P -m "1.0,2.1" -s 0:ingress-imix.pcap -f perf/profiles/pktgen/ingress-imix.lua
package.path = package.path .. ";perf/profiles/pktgen/?.lua;?.lua"
require "ces_capture"

capture_trial { name = "ingress-imix", send = "0", receive = "1", percent = 100, seconds = 10 }
