"""What the others print, and what they are told, in their own words."""

import os
import struct
import tempfile
import unittest

import rules

PAIR = {"host": "10.1.0.0", "proxy": "172.16.0.1", "tag": 0x01020304, "remote_tag": 0x10000001, "host_mac": "06:00:0a:01:00:00",
        "tunnel": {"local": "198.51.100.1", "remote": "203.0.0.1", "id_in": 7, "id_out": 8}}


class Rules(unittest.TestCase):
    def test_cycles_of_testpmd_are_read(self):
        text = "\n  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++\n  RX-packets: 512\n\n  " \
               "CPU cycles/packet=27.44 (total cycles=14049 / total io packets=512) at 2100 MHz Clock\ntestpmd> "
        self.assertEqual(rules.testpmd(text), {"cycles": 14049.0, "packets": 512.0})
        self.assertIsNone(rules.testpmd("testpmd> "))
        self.assertIsNone(rules.testpmd("CPU cycles/packet=nonsense"))

    def test_cycles_of_polling_threads_are_added_up(self):
        text = "pmd thread numa_id 0 core_id 1:\n  packets received: 100\n  avg cycles per packet: 1020.94 (102094/100)\n" \
               "  avg processing cycles per packet: 162.47 (16247/100)\npmd thread numa_id 0 core_id 2:\n" \
               "  packets received: 0\n  idle cycles: 12 (100.00%)\nmain thread:\n  packets received: 7\n" \
               "  avg processing cycles per packet: 9.00 (63/7)\n"
        self.assertEqual(rules.ovs(text), {"cycles": 16247.0, "packets": 100.0})
        self.assertEqual(rules.ovs(""), {"cycles": 0.0, "packets": 0.0})

    def test_the_generators_report_is_read(self):
        report = {"result": {"sent": 1000, "received": 900, "rate_sent_pps": 1e6}, "verdict": {"verdict": "done"}, "notes": []}
        self.assertEqual(round(rules.rate(report, "mrr")["pps"]), 900_000)
        with self.assertRaisesRegex(ValueError, "sent 0"):
            rules.rate({**report, "result": {"sent": 0, "received": 0}}, "mrr")
        self.assertEqual(rules.rate({"result": {"rate_pps": 5, "loss_ratio": None}}, "ndr"), {"pps": 5, "loss_ratio": 0.0})
        nothing = {"result": {"rate_pps": None}, "verdict": {"verdict": "failed", "why": "too much."}, "notes": ["a note."]}
        with self.assertRaisesRegex(ValueError, "too much; a note"):
            rules.rate(nothing, "pdr")

    def test_each_binding_has_its_rules(self):
        flows = rules.ovs_ces([PAIR]).splitlines()
        self.assertIn("nw_src=10.1.0.0,nw_dst=172.16.0.1,actions=dec_ttl,set_field:1.2.3.4->ip_src", flows[0])
        self.assertIn("set_field:8->tun_id,set_field:203.0.0.1->tun_dst,output:2", flows[0])
        self.assertIn("tun_id=7,tun_src=203.0.0.1", flows[1])
        maps = rules.nft_vxlan([PAIR])
        self.assertIn("elements = { 10.1.0.0 . 172.16.0.1 : 16.0.0.1 }", maps)
        self.assertIn("elements = { 16.0.0.1 . 1.2.3.4 : 172.16.0.1 }", maps)
        self.assertIn("route add 16.0.0.1/32 encap ip id 8", rules.tunnels([PAIR]))
        self.assertIn("neigh replace 10.1.0.0 lladdr 06:00:0a:01:00:00 dev inside", rules.roads([PAIR]))
        self.assertNotIn("flow add", rules.nft_nat(False))

    def test_a_capture_has_a_whole_packet_of_each_binding(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "flows")
            rules.write_capture([PAIR, PAIR], 64, path)
            data = open(path, "rb").read()
        self.assertEqual(len(data), 24 + 2 * (16 + 60))
        packet = data[24 + 16 + 14:24 + 16 + 60]
        total = sum(struct.unpack(">10H", packet[:20]))
        self.assertEqual((total & 0xFFFF) + (total >> 16), 0xFFFF)
        self.assertEqual(struct.unpack(">H", packet[2:4])[0], 46)


if __name__ == "__main__":
    unittest.main()
