-- One trial with the frames of a capture: sends for some seconds, waits for what is under way, and tells what came back.
--
-- Pktgen's range mode counts addresses up, and a session tag cannot be counted up: it is an encrypted handle. So all
-- frames are made beforehand (../ces_frames.py), and Pktgen sends them round and round. It tells no loss from
-- duplication or reordering, and has no delay of frames from a capture.
--
-- Not run here with Pktgen: see ../README.md.

-- How long frames may be under way, in milliseconds.
local DRAIN = 500

-- trial: name, send and receive (ports, as text), percent of line rate, seconds.
function capture_trial(trial)
    pktgen.screen("off")
    pktgen.stop("all")
    pktgen.pcap(trial.send, "on")
    pktgen.set(trial.send, "count", 0)
    pktgen.set(trial.send, "rate", trial.percent)
    pktgen.clr()
    pktgen.start(trial.send)
    pktgen.delay(trial.seconds * 1000)
    pktgen.stop(trial.send)
    pktgen.delay(DRAIN)
    local sent = pktgen.portStats(trial.send, "port")[tonumber(trial.send)].opackets
    local received = pktgen.portStats(trial.receive, "port")[tonumber(trial.receive)].ipackets
    printf("%s: sent %d, received %d, lost %d (%.6f), %.0f packets/s received\n", trial.name, sent, received,
        sent - received, (sent - received) / math.max(sent, 1), received / trial.seconds)
    pktgen.pcap(trial.send, "off")
    return sent, received
end
